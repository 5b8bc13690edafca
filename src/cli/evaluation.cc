#include "cli/evaluation.h"

#include <fmt/format.h>

#include "eval/tasks.h"

namespace krait::cli {

void add_evaluation_options(CLI::App& app, EvaluationOptions& options, bool file_required) {
  app.add_option("-f,--file", options.file, "Text; - reads standard input")
      ->required(file_required)
      ->type_name("FILE");
  app.add_option("--seq-len", options.seq_len, "Tokens of a window; windows do not overlap")
      ->capture_default_str()
      ->transform(whole_number(2, 1 << 24));
  app.add_option("--max-tokens", options.max_tokens, "Only the first N tokens of the text; 0: all")
      ->capture_default_str()
      ->transform(whole_number(0));
  add_threads_option(app, options.threads);
  add_json_option(app, options.json);
}

EvaluationText read_evaluation_text(const EvaluationOptions& options, const Engine& engine) {
  TextInput input;
  input.file = options.file;
  return encode_evaluation_text(read_text(input), options.file, options.max_tokens, engine);
}

CLI::Option* add_task_options(CLI::App& app, std::vector<std::string>& names, std::string& data,
                              std::int64_t& limit) {
  CLI::Option* tasks =
      add_list(app, "--tasks", names,
               fmt::format("Tasks, separated by commas: {}", fmt::join(task_names(), ", ")))
          ->type_name("NAMES");
  app.add_option("--data", data, "Directory with TASK.jsonl for each task")
      ->type_name("DIR")
      ->capture_default_str();
  app.add_option("--limit", limit, "Only the first N items of each task; 0: all")
      ->type_name("N")
      ->capture_default_str()
      ->transform(whole_number(0));
  return tasks;
}

}  // namespace krait::cli
