// krait quantize: a float checkpoint in, an integer one out.
#include "krait/quantize.h"

#include <chrono>
#include <memory>
#include <string>

#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "core/memory.h"
#include "report/units.h"

namespace krait::cli {
namespace {

struct Options {
  std::string model, output;
  QuantizeOptions quantize;
  bool json = false;
};

int run(Options& options) {
  const std::string model = resolve_model(options.model);
  catch_interrupts();
  ProgressReport report;
  options.quantize.progress = [&report](const Progress& progress) {
    throw_if_interrupted();
    report.update(progress);
  };
  const auto start = std::chrono::steady_clock::now();
  const QuantizeReport result = quantize(model, options.output, options.quantize);
  report.finish();
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (options.json) {
    print_json({{"model", model},
                {"output", options.output},
                {"recipe", result.recipe},
                {"source_bytes", result.source_bytes},
                {"output_bytes", result.output_bytes},
                {"bits_per_weight", result.bits_per_weight},
                {"calibration_samples", result.calibration_samples},
                {"calibration_tokens", result.calibration_tokens},
                {"seconds", seconds},
                {"peak_rss_bytes", peak_rss_bytes()}});
    return kSuccess;
  }
  const std::string calibration =
      result.calibration_tokens == 0
          ? "no calibration"
          : fmt::format("calibrated on {} samples, {} tokens", result.calibration_samples,
                        result.calibration_tokens);
  print("{}: {} -> {}, {:.2f} bits per weight, {}, {}, peak memory {}\n", result.recipe,
        format_bytes(static_cast<double>(result.source_bytes)),
        format_bytes(static_cast<double>(result.output_bytes)), result.bits_per_weight, calibration,
        format_duration(seconds), format_bytes(static_cast<double>(peak_rss_bytes())));
  print("wrote {}\n", options.output);
  return kSuccess;
}

}  // namespace

Runner declare_quantize(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  QuantizeOptions& q = options->quantize;
  add_model_argument(app, options->model);
  app.add_option("-o,--output", options->output, "Directory to write; must not exist")
      ->required()
      ->transform(output_path())
      ->type_name("DIR");
  app.add_option("--recipe", q.recipe,
                 "Name, of those that krait recipes --all lists, or JSON file")
      ->type_name("NAME")
      ->capture_default_str();
  app.add_option("--calibration", q.calibration,
                 "Text, .jsonl ({\"text\": ...}), .bin/.npy token ids, \"built-in\" text or text "
                 "\"generated\" by the model (default: the recipe's, else built-in)")
      ->type_name("FILE");
  app.add_option("--samples", q.samples, "Calibration samples")
      ->capture_default_str()
      ->transform(whole_number(1));
  app.add_option("--seq-len", q.seq_len, "Tokens per calibration sample")
      ->capture_default_str()
      ->transform(whole_number(1));
  app.add_option("--seed", q.seed, "Of the choice of samples")
      ->capture_default_str()
      ->transform(seed_number());
  app.add_flag("--force", q.overwrite,
               "Replace an output directory that krait wrote, and no other");
  add_threads_option(app, q.threads);
  add_json_option(app, options->json);
  return [options] { return run(*options); };
}

}  // namespace krait::cli
