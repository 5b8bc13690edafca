#include "report/task_outcome.h"

#include <fmt/format.h>

namespace krait {
namespace {

void add_rows(Table& table, const TaskOutcome& outcome) {
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

}  // namespace

std::vector<TaskOutcome> read_tasks(const std::vector<std::string>& names,
                                    const std::string& directory, std::int64_t limit) {
  std::vector<TaskOutcome> outcomes;
  outcomes.reserve(names.size());
  for (const std::string& name : names)
    outcomes.push_back({.task = read_task(name, directory, limit)});
  return outcomes;
}

void score_tasks(std::vector<TaskOutcome>& outcomes, const Engine& model, const Engine* reference,
                 const ProgressFn& progress) {
  for (TaskOutcome& outcome : outcomes) {
    outcome.scores = score_task(model, outcome.task, progress);
    outcome.metrics = metrics_of(outcome.task, outcome.scores);
    if (reference) {
      outcome.reference = metrics_of(outcome.task, score_task(*reference, outcome.task, progress));
    }
  }
}

Json to_json(const TaskOutcome& outcome) {
  Json json = {{"alias", outcome.task.kind.name}};
  for (std::size_t i = 0; i < outcome.metrics.size(); ++i) {
    const Metric& metric = outcome.metrics[i];
    json[metric.name + ",none"] = metric.mean.value;
    json[metric.name + "_stderr,none"] = metric.mean.error;
    if (outcome.reference.empty()) continue;
    const Mean difference = paired_difference(metric, outcome.reference[i]);
    json["reference"][metric.name] = outcome.reference[i].mean.value;
    json["difference"][metric.name] = difference_json(difference);
  }
  return json;
}

std::string item_lines(const TaskOutcome& outcome) {
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

Table task_table(const std::vector<TaskOutcome>& outcomes) {
  std::vector<std::string> header = {"task", "items", "metric", "value", "+-"};
  if (!outcomes.empty() && !outcomes.front().reference.empty()) {
    header.insert(header.end(), {"reference", "difference", "95% interval"});
  }
  Table table(header);
  for (const TaskOutcome& outcome : outcomes) add_rows(table, outcome);
  return table;
}

}  // namespace krait
