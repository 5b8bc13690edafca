// krait demo: the whole path once, on the checkpoint that comes with krait.
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "core/check.h"
#include "eval/divergence.h"
#include "io/checkpoint.h"
#include "io/file.h"
#include "krait/engine.h"
#include "krait/generate.h"
#include "krait/quantize.h"
#include "krait/session.h"
#include "models/model.h"
#include "quant/quantized_directory.h"
#include "quant/recipe.h"
#include "report/overview.h"
#include "report/units.h"
#include "runtime/engine_access.h"

namespace krait::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kSeqLen = 512;
constexpr const char* kGenerator = "krait-w8a8";  // last, and for every model
constexpr const char* kRecipes[] = {"quamba-w8a8", kGenerator};

struct Options {
  std::string model, output, prompt = "The river";
  int tokens = 120, samples = 128, threads = 0;
  std::uint64_t seed = 1234;
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

/// Those of kRecipes that are for a model.
std::vector<std::string> fitting_recipes(const std::string& model) {
  const Checkpoint checkpoint = open_checkpoint(model);
  const ModelLayout layout = describe_model(checkpoint.config, *checkpoint.tensors);
  std::vector<std::string> names;
  for (const char* name : kRecipes) {
    try {
      static_cast<void>(fit_recipe(load_recipe(name), layout));
    } catch (const Error&) {
      if (name == std::string_view(kGenerator)) throw;
      inform("{} is not for {}: left out", name, layout.info.architecture);
      continue;
    }
    names.emplace_back(name);
  }
  return names;
}

int run(const Options& options) {
  catch_interrupts();
  const auto start = std::chrono::steady_clock::now();
  const std::string model = resolve_model(options.model);
  const TemporaryDirectory temporary;
  const std::string output = options.output.empty() ? temporary.path() : options.output;
  const std::vector<std::string> recipes = fitting_recipes(model);
  for (const std::string& recipe : recipes) check_output(model, output + "/" + recipe, true);
  const SplitText texts = split_shipped_text();
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

  std::vector<OverviewRow> rows = {{.name = "float", .decode = decode_speed(reference)}};
  for (const std::string& recipe : recipes) {
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
    OverviewRow row{.name = recipe,
                    .bytes = static_cast<double>(made.output_bytes),
                    .bits = made.bits_per_weight,
                    .decode = decode_speed(engine)};
    row.loss = compare(reference, engine, ids, texts.held_out.size(), kSeqLen, watch);
    report.finish();
    rows[0].bytes = static_cast<double>(made.source_bytes);
    rows[0].bits = 8 * rows[0].bytes / static_cast<double>(reference.info().parameters);
    rows.push_back(std::move(row));
  }
  if (!options.json) print("\n{}\n", overview_table(rows).str());

  const Engine engine = Engine::load(output + "/" + kGenerator, {.threads = options.threads});
  Session session = engine.new_session();
  if (!options.json) print("Text from the integers of {}:\n\n{}", kGenerator, options.prompt);
  const GenerateResult text =
      generate(engine, session, options.prompt,
               {.max_tokens = options.tokens, .seed = options.seed}, [&](std::string_view piece) {
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
    for (const OverviewRow& row : rows) list.push_back(to_json(row));
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
      ->transform(output_path())
      ->type_name("DIR");
  app.add_option("-p,--prompt", options->prompt, "Text to continue")->capture_default_str();
  app.add_option("-n,--tokens", options->tokens, "Tokens to generate")
      ->capture_default_str()
      ->transform(whole_number(0));
  app.add_option("--samples", options->samples, "Calibration samples of 512 tokens")
      ->capture_default_str()
      ->transform(whole_number(1));
  app.add_option("--seed", options->seed, "Of calibration and sampling")
      ->capture_default_str()
      ->transform(seed_number());
  add_threads_option(app, options->threads);
  add_json_option(app, options->json);
  return [options] { return run(*options); };
}

}  // namespace krait::cli
