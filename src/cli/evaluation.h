// What commands that evaluate share: the text and how it is cut, and tasks.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/command.h"
#include "krait/engine.h"
#include "report/measures.h"

namespace krait::cli {

struct EvaluationOptions {
  std::string file;
  std::int64_t seq_len = 2048, max_tokens = 0;
  int threads = 0;
  bool json = false;
};
void add_evaluation_options(CLI::App& app, EvaluationOptions& options, bool file_required = true);

/// The text of the options' file. Errors: as encode_evaluation_text(); also not_found, io_error.
EvaluationText read_evaluation_text(const EvaluationOptions& options, const Engine& engine);

/// --tasks, --data and --limit. Returns the first of them.
CLI::Option* add_task_options(CLI::App& app, std::vector<std::string>& names, std::string& data,
                              std::int64_t& limit);

}  // namespace krait::cli
