// krait demo: the whole path once, on the checkpoint that comes with krait.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>

#include "cli/command.h"
#include "cli/evaluation.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "core/check.h"
#include "eval/divergence.h"
#include "eval/speed.h"
#include "eval/windows.h"
#include "io/file.h"
#include "krait/engine.h"
#include "krait/generate.h"
#include "krait/quantize.h"
#include "krait/session.h"
#include "quant/embedded.h"
#include "quant/quantized_directory.h"
#include "report/table.h"
#include "report/units.h"
#include "runtime/engine_impl.h"

namespace krait::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kHeldOutBytes = 80'000;
constexpr std::int64_t kSeqLen = 512;
constexpr const char* kRecipes[] = {"quamba-w8a8", "krait-w8a8"};
constexpr const char* kGenerator = "krait-w8a8";

struct Options {
  std::string model, output, prompt = "The river";
  int tokens = 120, samples = 128, threads = 0;
  std::uint64_t seed = 1;
  bool json = false;
};

/// A new directory in $TMPDIR that goes with the object.
class TemporaryDirectory {
 public:
  TemporaryDirectory() : path_((fs::temp_directory_path() / "krait-demo-XXXXXX").string()) {
    check(::mkdtemp(path_.data()) != nullptr, ErrorCode::io_error,
          "cannot make a temporary directory like {}", path_);
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

/// The shipped text in two parts that share no passage: scales are calibrated on the first, losses
/// measured on the second. No checkpoint of ours was trained on either.
struct Texts {
  std::string calibration, held_out;
};

Texts split_text() {
  const std::string_view text = embedded_calibration_text();
  std::size_t cut = text.size() > 2 * kHeldOutBytes ? text.size() - kHeldOutBytes : text.size() / 2;
  cut = std::min(text.find("\n\n", cut), text.size() - 2) + 2;  // between two passages
  return {std::string(text.substr(0, cut)), std::string(text.substr(cut))};
}

double decode_speed(const Engine& engine) {
  const SpeedTest test[] = {{.tokens = 64, .decode = true}};
  return quantile(measure_speed(engine, test, 3, false).results.front().rates, 0.5);
}

struct Row {
  std::string name;
  double bytes = 0, bits = 0, decode = 0;
  DivergenceResult loss;
};

Json to_json(const Row& row) {
  return {{"model", row.name},
          {"bytes", row.bytes},
          {"bits_per_weight", row.bits},
          {"decode_tokens_per_second", row.decode},
          {"loss", to_json(row.loss)}};
}

void print_rows(const std::vector<Row>& rows) {
  Table table({"model", "bytes", "bits/weight", "perplexity", "nll difference", "mean KL", "top-1",
               "decode tokens/s"});
  const PerplexityResult& reference = rows.front().loss.reference;
  for (const Row& row : rows) {
    const bool is_reference = &row == &rows.front();
    table.add(
        {row.name, format_bytes(row.bytes), fmt::format("{:.2f}", row.bits),
         fmt::format("{:.4f}", is_reference ? reference.perplexity : row.loss.model.perplexity),
         is_reference ? "-" : fmt::format("{:+.5f}", row.loss.nll_difference),
         is_reference ? "-" : fmt::format("{:.6f}", row.loss.kl_mean),
         is_reference ? "-" : fmt::format("{:.2f}%", 100 * row.loss.top1_agreement),
         format_rate(row.decode)});
  }
  print("\n{}\n", table.str());
}

int run(const Options& options) {
  catch_interrupts();
  const auto start = std::chrono::steady_clock::now();
  const std::string model = resolve_model(options.model);
  const TemporaryDirectory temporary;
  const std::string output = options.output.empty() ? temporary.path() : options.output;
  for (const char* recipe : kRecipes) check_output(model, output + "/" + recipe, true);
  const Texts texts = split_text();
  const std::string calibration = temporary.path() + "/calibration.txt";
  write_file_atomic(calibration, texts.calibration);

  ProgressReport report;
  std::string current;  // the recipe at work
  const auto watch = [&](Progress progress) {
    throw_if_interrupted();
    progress.phase = current + ": " + progress.phase;
    report.update(progress);
  };
  const Engine reference = Engine::load(model, {.threads = options.threads});
  if (!options.json) print("{}\n{}\n", model, reference.description());
  flush_out();
  const std::vector<std::int32_t> ids = reference.encode(texts.held_out, false);

  std::vector<Row> rows(1);
  rows[0].decode = decode_speed(reference);
  std::string generator_directory;
  for (const char* recipe : kRecipes) {
    current = recipe;
    const std::string directory = output + "/" + recipe;
    const QuantizeReport made = quantize(model, directory,
                                         {.recipe = recipe,
                                          .calibration = calibration,
                                          .samples = options.samples,
                                          .seed = options.seed,
                                          .threads = options.threads,
                                          .overwrite = true,
                                          .progress = watch});
    report.finish();
    const Engine engine = Engine::load(directory, {.threads = options.threads});
    if (!options.json) {
      print("{}: {}\n", recipe,
            made.calibration_tokens > 0
                ? fmt::format("calibrated on {} tokens and quantized", made.calibration_tokens)
                : "quantized, needs no calibration");
      flush_out();
    }
    Row row{.name = recipe,
            .bytes = static_cast<double>(made.output_bytes),
            .bits = made.bits_per_weight,
            .decode = decode_speed(engine),
            .loss = {}};
    row.loss = compare(reference, engine, ids, texts.held_out.size(), kSeqLen, watch);
    report.finish();
    rows[0].name = "float";
    rows[0].bytes = static_cast<double>(made.source_bytes);
    rows[0].bits =
        8 * rows[0].bytes / static_cast<double>(reference.impl()->model->info().parameters);
    rows[0].loss = row.loss;
    rows.push_back(std::move(row));
  }
  if (!options.json) print_rows(rows);

  const Engine engine = Engine::load(output + "/" + kGenerator, {.threads = options.threads});
  Session session = engine.new_session();
  if (!options.json) print("Text from the integers of {}:\n\n{}", kGenerator, options.prompt);
  const GenerateResult text =
      generate(engine, session, options.prompt,
               {.max_tokens = options.tokens, .seed = options.seed, .stop = {}},
               [&](std::string_view piece) {
                 if (!options.json) {
                   write_out(piece);
                   flush_out();
                 }
                 return interrupt_signal() == 0;
               });
  throw_if_interrupted();
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (options.json) {
    Json list = Json::array();
    for (const Row& row : rows) list.push_back(to_json(row));
    list[0].erase("loss");
    print_json({{"model", model},
                {"models", list},
                {"prompt", options.prompt},
                {"text", text.text},
                {"seconds", seconds}});
    return kSuccess;
  }
  print("\n\n{} tokens of held-out text in windows of {}; all in {}\n", ids.size(), kSeqLen,
        format_duration(seconds));
  if (!options.output.empty()) print("The quantized checkpoints are in {}\n", output);
  return kSuccess;
}

}  // namespace

Runner declare_demo(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  add_model_argument(app, options->model);
  app.add_option("-o,--output", options->output, "Keep the quantized checkpoints in this directory")
      ->type_name("DIR");
  app.add_option("-p,--prompt", options->prompt, "Text to continue")->capture_default_str();
  app.add_option("-n,--tokens", options->tokens, "Tokens to generate")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  app.add_option("--samples", options->samples, "Calibration samples of 512 tokens")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app.add_option("--seed", options->seed, "Of calibration and sampling")->capture_default_str();
  add_threads_option(app, options->threads);
  add_json_option(app, options->json);
  return [options] { return run(*options); };
}

}  // namespace krait::cli
