// The zero-shot tasks that papers on Mamba report, from local JSON lines, with the definitions of
// lm-evaluation-harness (EleutherAI, version 0.4): what is conditioned on what, and what counts.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace krait {

/// What the model has to judge: ln p(continuation | context) of each choice.
struct TaskChoice {
  std::string context, continuation;
  std::int64_t characters = 0;  ///< code points of the choice, without the space before it
};

struct TaskItem {
  std::vector<TaskChoice> choices;
  std::size_t gold = 0;  ///< index of the right one
};

/// What is reported of a task, beside acc.
struct TaskKind {
  std::string_view name;      ///< "arc_easy"
  bool has_acc_norm;          ///< likelihood per character also decides
  bool is_cloze;              ///< one choice, right if it is the greedy continuation; perplexity
  std::string_view headline;  ///< the metric that papers report: "acc" or "acc_norm"
};

struct Task {
  TaskKind kind;
  std::vector<TaskItem> items;
};

std::vector<std::string> task_names();

/// Reads DIRECTORY/NAME.jsonl (docs/reference/formats.md has the fields); the first `limit` items,
/// 0: all.
/// Errors: invalid_argument for an unknown name (with the known ones), not_found, io_error;
/// bad_data with file, line, expected and got.
Task read_task(std::string_view name, const std::string& directory, std::int64_t limit = 0);
/// The same of the file's text.
Task parse_task(std::string_view name, std::string_view text, std::int64_t limit = 0);

}  // namespace krait
