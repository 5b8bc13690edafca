// Zero-shot tasks of one or two models: scored, as JSON and as a table.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "eval/likelihood.h"
#include "eval/tasks.h"
#include "io/json.h"
#include "report/measures.h"
#include "report/table.h"

namespace krait {

struct TaskOutcome {
  Task task{};
  TaskScores scores{};
  std::vector<Metric> metrics{}, reference{};  ///< reference is empty without one
};

/// All tasks of a list, before a model is loaded. Errors: as read_task().
std::vector<TaskOutcome> read_tasks(const std::vector<std::string>& names,
                                    const std::string& directory, std::int64_t limit);
/// Scores every task with the model and, unless it is null, the reference.
void score_tasks(std::vector<TaskOutcome>& outcomes, const Engine& model, const Engine* reference,
                 const ProgressFn& progress);

/// Keys as lm-evaluation-harness writes them: "acc,none" and "acc_stderr,none".
Json to_json(const TaskOutcome& outcome);

/// A line of JSON per item: what the model found likely.
std::string item_lines(const TaskOutcome& outcome);

/// Rows for every metric: with the reference and the paired difference if there is one.
Table task_table(const std::vector<TaskOutcome>& outcomes);

}  // namespace krait
