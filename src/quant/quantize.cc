#include "krait/quantize.h"

#include <filesystem>
#include <optional>

#include "core/check.h"
#include "core/cpu_info.h"
#include "io/checkpoint.h"
#include "io/output_directory.h"
#include "io/safetensors.h"
#include "kernels/microkernels.h"
#include "krait/version.h"
#include "quant/calibrate.h"
#include "quant/generate_samples.h"
#include "quant/model_card.h"
#include "quant/plan.h"
#include "quant/quantization_config.h"
#include "quant/quantized_directory.h"
#include "quant/round_layers.h"
#include "quant/sort_and_cluster.h"
#include "tokenizer/tokenizer.h"

namespace krait {
namespace {

using enum ErrorCode;
namespace fs = std::filesystem;

/// Before an hour of calibration rather than after it.
void check_space(const OutputDirectory& directory, std::size_t bytes) {
  std::error_code error;
  const fs::space_info space = fs::space(directory.path(""), error);
  check(error || space.available >= bytes, io_error,
        "{} needs {} bytes of disk space, {} are available", directory.final_path(), bytes,
        space.available);
}

CalibrationData read_calibration(const std::string& model, const QuantizeOptions& options,
                                 std::int64_t vocab_rows) {
  std::optional<Tokenizer> tokenizer;
  const EncodeFn encode = [&](std::string_view text, bool add_special) {
    if (!tokenizer) {
      const std::string path = (fs::path(model) / "tokenizer.json").string();
      check(fs::exists(path), not_found,
            "{} has no tokenizer.json: calibrate on a token file (.npy or .bin) instead", model);
      tokenizer = Tokenizer::load(path);
    }
    return tokenizer->encode(text, add_special);
  };
  const std::string path = options.calibration == "built-in" ? "" : options.calibration;
  CalibrationData data =
      load_calibration({path, options.samples, options.seq_len, options.seed, vocab_rows}, encode);
  for (const auto& sample : data.samples) {
    for (TokenId id : sample) {
      check(id >= 0 && id < vocab_rows, bad_data,
            "{}/tokenizer.json gives the id {}, the embedding table has {} rows", model, id,
            vocab_rows);
    }
  }
  return data;
}

}  // namespace

QuantizeReport quantize(const std::string& model, const std::string& output,
                        const QuantizeOptions& options) {
  check(options.threads >= 0, invalid_argument,
        "the number of threads must not be negative, got {}", options.threads);
  const ProgressFn progress = [&](const Progress& done) {
    check(!options.cancel.cancelled(), cancelled, "quantizing {} was cancelled", model);
    if (options.progress) options.progress(done);
  };
  const Recipe recipe = load_recipe(options.recipe);
  const Checkpoint source = open_checkpoint(model);
  check_output(model, output, options.overwrite);
  QuantizationPlan plan = plan_quantization(recipe, source.config, *source.tensors);
  OutputDirectory directory(output, quantized_directory(), options.overwrite);
  check_space(directory, plan.output_bytes());

  Provenance provenance{.source_hash = checkpoint_hash(model), .seed = options.seed};
  CalibrationResult calibrated;
  RoundedTensors rounded;
  std::unique_ptr<const TensorSource> in_new_order;
  ThreadPool threads(options.threads ? options.threads : hardware_threads());
  if (plan.recipe.needs_calibration()) {
    const bool generates = options.calibration == "generated" ||
                           (options.calibration.empty() && plan.recipe.calibrate == "generated");
    CalibrationData data;
    if (!generates) data = read_calibration(model, options, plan.layout.info.vocab_rows);
    Arena arena;
    Context ctx{threads, microkernels(select_isa()), arena};
    auto float_model = load_model(ctx, source.config, *source.tensors);
    if (generates) {
      data = generate_samples(ctx, *float_model,
                              document_token(source.config, plan.layout.info.vocab_rows),
                              options.samples, options.seq_len, options.seed, progress);
    }
    if (plan.recipe.cluster) {
      in_new_order =
          sort_and_cluster(plan, *source.tensors,
                           channel_magnitudes(ctx, *float_model, plan.layout, data, progress));
      float_model = load_model(ctx, source.config, *in_new_order);
    }
    calibrated = calibrate(ctx, *float_model, in_new_order ? *in_new_order : *source.tensors, plan,
                           data, progress);
    if (plan.recipe.rounding().looks_at_inputs()) {
      rounded = round_layers(ctx, *float_model, in_new_order ? *in_new_order : *source.tensors,
                             plan, source.config, calibrated, data, progress);
    }
    provenance.calibrated = true;
    provenance.calibration_source = data.source;
    provenance.calibration_hash = data.hash;
    provenance.samples = static_cast<std::int64_t>(data.samples.size());
    provenance.tokens = data.tokens();
    provenance.seq_len = options.seq_len;
  }

  const auto sink = make_safetensors_sink(directory.path("model.safetensors"),
                                          {{"format", "pt"}, {"krait_version", version()}});
  write_tensors(plan, in_new_order ? *in_new_order : *source.tensors, calibrated, rounded, threads,
                *sink, progress);
  for (const char* name : copied_files()) {
    const std::string path = (fs::path(model) / name).string();
    if (fs::exists(path)) write_file_atomic(directory.path(name), read_file(path));
  }
  const Json config = output_config(source.config, plan, provenance);
  write_file_atomic(directory.path("config.json"), format_json(config));
  write_file_atomic(directory.path("README.md"),
                    model_card(plan, calibrated.static_scales, provenance));
  directory.commit();

  QuantizeReport report;
  report.recipe = recipe.name;
  for (const TensorInfo& info : source.tensors->list()) {
    report.source_bytes += static_cast<std::size_t>(info.shape.elements()) * size_of(info.dtype);
  }
  report.output_bytes = plan.output_bytes();
  report.bits_per_weight = 8 * static_cast<double>(report.output_bytes) /
                           static_cast<double>(plan.layout.info.parameters);
  report.calibration_samples = static_cast<int>(provenance.samples);
  report.calibration_tokens = provenance.tokens;
  return report;
}

}  // namespace krait
