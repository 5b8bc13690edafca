// krait eval: zero-shot tasks.
#include <memory>
#include <optional>
#include <string>

#include "cli/command.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/table.h"
#include "eval/likelihood.h"
#include "eval/tasks.h"
#include "io/json.h"
#include "krait/engine.h"

namespace krait::cli {
namespace {

constexpr double kQuantile95 = 1.959964;  // of the normal distribution, two-sided

struct Options {
  std::string model, reference, data = ".", samples;
  std::vector<std::string> tasks;
  std::int64_t limit = 0;
  int threads = 0;
  bool json = false;
};

struct Outcome {
  Task task;
  TaskScores scores;
  std::vector<Metric> metrics, reference;  // reference is empty without one
};

/// Keys as lm-evaluation-harness writes them: "acc,none" and "acc_stderr,none".
Json to_json(const Outcome& outcome) {
  Json json = {{"alias", outcome.task.kind.name}};
  for (std::size_t i = 0; i < outcome.metrics.size(); ++i) {
    const Metric& metric = outcome.metrics[i];
    json[metric.name + ",none"] = metric.mean.value;
    json[metric.name + "_stderr,none"] = metric.mean.error;
    if (outcome.reference.empty()) continue;
    const Mean difference = paired_difference(metric, outcome.reference[i]);
    json["reference"][metric.name] = outcome.reference[i].mean.value;
    json["difference"][metric.name] = {{"mean", difference.value},
                                       {"stderr", difference.error},
                                       {"low", difference.value - kQuantile95 * difference.error},
                                       {"high", difference.value + kQuantile95 * difference.error}};
  }
  return json;
}

/// One line per item: what the model found likely.
std::string samples_of(const Outcome& outcome) {
  std::string lines;
  for (std::size_t i = 0; i < outcome.scores.items.size(); ++i) {
    Json line = {
        {"task", outcome.task.kind.name}, {"index", i}, {"gold", outcome.task.items[i].gold}};
    for (const Likelihood& choice : outcome.scores.items[i]) {
      line["log_likelihoods"].push_back(choice.log_likelihood);
      line["is_greedy"].push_back(choice.is_greedy);
      line["tokens"].push_back(choice.tokens);
    }
    lines += line.dump() + "\n";
  }
  return lines;
}

void add_rows(Table& table, const Outcome& outcome) {
  for (std::size_t i = 0; i < outcome.metrics.size(); ++i) {
    const Metric& metric = outcome.metrics[i];
    std::vector<std::string> row = {
        std::string(outcome.task.kind.name), std::to_string(outcome.task.items.size()),
        metric.name + (metric.name == outcome.task.kind.headline ? " *" : ""),
        fmt::format("{:.4f}", metric.mean.value), fmt::format("{:.4f}", metric.mean.error)};
    if (!outcome.reference.empty()) {
      const Mean difference = paired_difference(metric, outcome.reference[i]);
      const double half = kQuantile95 * difference.error;
      row.push_back(fmt::format("{:.4f}", outcome.reference[i].mean.value));
      row.push_back(fmt::format("{:+.4f}", difference.value));
      row.push_back(
          fmt::format("{:+.4f} to {:+.4f}", difference.value - half, difference.value + half));
    }
    table.add(row);
  }
}

int run(const Options& options) {
  const std::string model = resolve_model(options.model);
  const EngineOptions engine_options{.threads = options.threads};
  std::vector<Outcome> outcomes;
  for (const std::string& name : options.tasks) {  // all of them before the first model is loaded
    outcomes.push_back({read_task(name, options.data, options.limit), {}, {}, {}});
  }
  const Engine engine = Engine::load(model, engine_options);
  std::optional<Engine> reference;
  if (!options.reference.empty()) {
    reference = Engine::load(resolve_model(options.reference), engine_options);
  }
  ProgressReport report;
  const auto progress = [&](const Progress& p) { report.update(p); };
  for (Outcome& outcome : outcomes) {
    outcome.scores = score_task(engine, outcome.task, progress);
    outcome.metrics = metrics_of(outcome.task, outcome.scores);
    if (reference) {
      outcome.reference = metrics_of(outcome.task, score_task(*reference, outcome.task, progress));
    }
  }
  report.finish();
  if (!options.samples.empty()) {
    std::string lines;
    for (const Outcome& outcome : outcomes) lines += samples_of(outcome);
    write_file_atomic(options.samples, lines);
  }
  if (options.json) {
    Json json = {{"model", model}, {"description", engine.description()}};
    if (reference) json["reference"] = options.reference;
    for (const Outcome& outcome : outcomes) {
      json["results"][std::string(outcome.task.kind.name)] = to_json(outcome);
      json["n-samples"][std::string(outcome.task.kind.name)] = outcome.task.items.size();
    }
    print_json(json);
    return kSuccess;
  }
  std::vector<std::string> header = {"task", "items", "metric", "value", "+-"};
  if (reference) header.insert(header.end(), {"reference", "difference", "95% interval"});
  Table table(header);
  for (const Outcome& outcome : outcomes) add_rows(table, outcome);
  print("{}\n{}\n\n{}", model, engine.description(), table.str());
  if (reference) {
    print("\ndifferences are model - reference, item by item; of perplexity in nats per item\n");
  }
  print("\n* the metric that papers report\n");
  return kSuccess;
}

}  // namespace

Runner declare_eval(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  std::string names;
  for (const std::string& name : task_names()) names += (names.empty() ? "" : ", ") + name;
  add_model_argument(app, options->model);
  app.add_option("--tasks", options->tasks, "Tasks, separated by commas: " + names)
      ->required()
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("NAMES");
  app.add_option("--data", options->data, "Directory with TASK.jsonl for each task")
      ->type_name("DIR")
      ->capture_default_str();
  app.add_option("--reference", options->reference,
                 "A second model: paired differences with confidence intervals")
      ->type_name("DIR");
  app.add_option("--limit", options->limit, "Only the first N items of each task; 0: all")
      ->type_name("N")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  app.add_option("--samples", options->samples, "Write log-likelihoods item by item, JSON lines")
      ->type_name("FILE");
  add_threads_option(app, options->threads);
  add_json_option(app, options->json);
  return [options] { return run(*options); };
}

}  // namespace krait::cli
