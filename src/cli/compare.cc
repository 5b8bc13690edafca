// krait compare: what a model lost against its reference.
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "cli/command.h"
#include "cli/evaluation.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "eval/divergence.h"
#include "eval/site_errors.h"
#include "io/json.h"
#include "krait/engine.h"
#include "report/table.h"
#include "report/tables.h"
#include "report/task_outcome.h"

namespace krait::cli {
namespace {

struct Options {
  TwoModels models;
  std::string data = ".";
  std::vector<std::string> tasks;
  std::int64_t limit = 0;
  bool sites = false;
  EvaluationOptions evaluation;
};

void print_divergence(const Options& options, const DivergenceResult& result) {
  Table models({"", "nll", "perplexity", "bits/byte"});
  const auto add = [&models](const std::string& name, const PerplexityResult& p) {
    models.add({name, fmt::format("{:.5f}", p.nll), fmt::format("{:.4f}", p.perplexity),
                fmt::format("{:.4f}", p.bits_per_byte)});
  };
  add(options.models.reference, result.reference);
  add(options.models.model, result.model);
  print("{}\n", models.str());
  print(
      "{}\n{} tokens in {} windows; KL(reference || model) and differences in nats per token; "
      "intervals by bootstrap over blocks of {} tokens (nll difference with tokens taken as "
      "independent: +- {:.5f})\n",
      loss_table(result).str(), result.model.tokens, result.model.windows, kBootstrapBlock,
      result.nll_difference_error);
}

int run(Options& options) {
  options.models = resolve_two_models(options.models);
  if (options.evaluation.file.empty() && (options.tasks.empty() || options.sites)) {
    throw UsageError(options.sites ? "--sites needs a text: -f FILE"
                                   : "give something to compare on: -f FILE or --tasks NAMES");
  }
  const TwoModels& models = options.models;
  std::vector<TaskOutcome> tasks = read_tasks(options.tasks, options.data, options.limit);
  const EngineOptions engine_options{.threads = options.evaluation.threads};
  const Engine reference = Engine::load(resolve_model(models.reference), engine_options);
  const Engine model = Engine::load(resolve_model(models.model), engine_options);
  ProgressReport report;
  const auto progress = [&](const Progress& p) { report.update(p); };
  std::optional<DivergenceResult> result;
  EvaluationText text;
  if (!options.evaluation.file.empty()) {
    text = read_evaluation_text(options.evaluation, reference);
    result = compare(reference, model, text.ids, text.bytes, options.evaluation.seq_len, progress);
  }
  std::optional<SiteErrors> sites;
  if (options.sites) {
    const Json config =
        read_json_file((std::filesystem::path(models.model) / "config.json").string());
    sites = site_errors(reference, model, channel_transforms(config), text.ids,
                        options.evaluation.seq_len, progress);
  }
  score_tasks(tasks, model, &reference, progress);
  report.finish();
  if (options.evaluation.json) {
    Json json = result ? to_json(*result) : Json::object();
    json["reference_directory"] = models.reference;
    json["model_directory"] = models.model;
    if (result) json["file"] = options.evaluation.file;
    if (result) json["seq_len"] = options.evaluation.seq_len;
    for (const TaskOutcome& task : tasks)
      json["tasks"][std::string(task.task.kind.name)] = to_json(task);
    if (sites) json.update(to_json(*sites));
    print_json(json);
    return kSuccess;
  }
  if (result) print_divergence(options, *result);
  if (sites) {
    print("\n{}\nmedian over the layers (worst layer); errors include those of what comes before\n",
          site_table(*sites).str());
  }
  if (tasks.empty()) return kSuccess;
  print(
      "{}{}\n* the metric that papers report; differences are model - reference, item by item; of "
      "perplexity in nats per item\n",
      result ? "\n" : "", task_table(tasks).str());
  return kSuccess;
}

}  // namespace

Runner declare_compare(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  add_two_models(app, options->models);
  add_evaluation_options(app, options->evaluation, false);
  app.add_flag("--sites", options->sites,
               "Also the error of every activation and product, and how far outliers reach");
  add_task_options(app, options->tasks, options->data, options->limit);
  return [options] { return run(*options); };
}

}  // namespace krait::cli
