// krait drift: how two models part as a text gets longer.
#include "eval/drift.h"

#include <memory>
#include <string>

#include "cli/command.h"
#include "cli/evaluation.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "io/file.h"
#include "krait/engine.h"
#include "report/by_model.h"
#include "report/measures.h"
#include "report/tables.h"

namespace krait::cli {
namespace {

struct Options {
  TwoModels models;
  std::string file, svg;
  DriftOptions drift;
  int threads = 0;
  bool json = false;
};

int run(const Options& options) {
  const TwoModels models = resolve_two_models(options.models);
  const EngineOptions engine_options{.threads = options.threads};
  const Engine reference = Engine::load(resolve_model(models.reference), engine_options);
  const Engine model = Engine::load(resolve_model(models.model), engine_options);
  const EvaluationText text = read_evaluation_text({.file = options.file}, reference);
  ProgressReport report;
  const DriftResult result = drift(reference, model, text.ids, options.drift,
                                   [&](const Progress& p) { report.update(p); });
  report.finish();
  if (!options.svg.empty()) write_file_atomic(options.svg, drift_svg(models.model, result));
  if (options.json) {
    Json json = to_json(result);
    json["reference_directory"] = models.reference;
    json["model_directory"] = models.model;
    json["file"] = options.file;
    json["prompts"] = options.drift.prompts;
    json["prompt_tokens"] = options.drift.prompt_tokens;
    json["read"] = options.drift.read;
    print_json(json);
    return kSuccess;
  }
  print(
      "greedy continuations of {} prompts of {} tokens: the first different token after {:g} "
      "(quartiles {:g} to {:g}); {:.0f}% have the same {} tokens\n\n",
      result.agreed.size(), options.drift.prompt_tokens, result.agreed_median, result.agreed_low,
      result.agreed_high, 100 * result.unchanged, result.generated);
  print("{}\nboth read the same text; +- are standard errors over {} windows\n",
        drift_table(result).str(), result.agreed.size());
  return kSuccess;
}

}  // namespace

Runner declare_drift(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  add_two_models(app, options->models);
  app.add_option("-f,--file", options->file, "Text; - reads standard input")
      ->required()
      ->type_name("FILE");
  app.add_option("--prompts", options->drift.prompts, "Places of the text to start from")
      ->capture_default_str()
      ->transform(whole_number(1, 1 << 16));
  app.add_option("--prompt-tokens", options->drift.prompt_tokens, "Tokens of each prompt")
      ->capture_default_str()
      ->transform(whole_number(1, 1 << 24));
  app.add_option("-n,--generated", options->drift.generated, "Tokens that both write")
      ->capture_default_str()
      ->transform(whole_number(0, 1 << 24));
  app.add_option("--read", options->drift.read, "Tokens that both read, from each place on")
      ->capture_default_str()
      ->transform(whole_number(2, 1 << 26));
  app.add_option("--svg", options->svg, "Write KL over position as a picture")
      ->transform(output_path())
      ->type_name("FILE");
  add_threads_option(app, options->threads);
  add_json_option(app, options->json);
  return [options] { return run(*options); };
}

}  // namespace krait::cli
