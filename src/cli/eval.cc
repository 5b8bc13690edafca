// krait eval: zero-shot tasks.
#include <memory>
#include <optional>
#include <string>

#include "cli/command.h"
#include "cli/evaluation.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "io/json.h"
#include "krait/engine.h"
#include "report/task_outcome.h"

namespace krait::cli {
namespace {

struct Options {
  std::string model, reference, data = ".", items;
  std::vector<std::string> tasks;
  std::int64_t limit = 0;
  int threads = 0;
  bool json = false;
};

int run(const Options& options) {
  const std::string model = resolve_model(options.model);
  const EngineOptions engine_options{.threads = options.threads};
  std::vector<TaskOutcome> outcomes = read_tasks(options.tasks, options.data, options.limit);
  const Engine engine = Engine::load(model, engine_options);
  std::optional<Engine> reference;
  if (!options.reference.empty()) {
    reference = Engine::load(resolve_model(options.reference), engine_options);
  }
  ProgressReport report;
  const auto progress = [&](const Progress& p) { report.update(p); };
  score_tasks(outcomes, engine, reference ? &*reference : nullptr, progress);
  report.finish();
  if (!options.items.empty()) {
    std::string lines;
    for (const TaskOutcome& outcome : outcomes) lines += item_lines(outcome);
    write_file_atomic(options.items, lines);
  }
  if (options.json) {
    Json json = {{"model", model}, {"description", engine.description()}};
    if (reference) json["reference"] = options.reference;
    for (const TaskOutcome& outcome : outcomes) {
      json["results"][std::string(outcome.task.kind.name)] = to_json(outcome);
      json["n-samples"][std::string(outcome.task.kind.name)] = outcome.task.items.size();
    }
    print_json(json);
    return kSuccess;
  }
  print("{}\n{}\n\n{}", model, engine.description(), task_table(outcomes).str());
  if (reference) {
    print("\ndifferences are model - reference, item by item; of perplexity in nats per item\n");
  }
  print("\n* the metric that papers report\n");
  return kSuccess;
}

}  // namespace

Runner declare_eval(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  add_model_argument(app, options->model);
  add_task_options(app, options->tasks, options->data, options->limit)->required();
  app.add_option("--reference", options->reference,
                 "A second model: paired differences with confidence intervals")
      ->type_name("DIR");
  app.add_option("--items", options->items, "Write log-likelihoods item by item, JSON lines")
      ->transform(output_path())
      ->type_name("FILE");
  app.add_option("--samples", options->items)->group("");  // the name of before
  add_threads_option(app, options->threads);
  add_json_option(app, options->json);
  return [options] { return run(*options); };
}

}  // namespace krait::cli
