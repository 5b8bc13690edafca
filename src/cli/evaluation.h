// What perplexity and compare share: the text and how it is cut.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/command.h"
#include "eval/divergence.h"
#include "io/json.h"
#include "krait/engine.h"

namespace krait::cli {

struct EvaluationOptions {
  std::string file;
  std::int64_t seq_len = 2048, max_tokens = 0;
  int threads = 0;
  bool json = false;
};
void add_evaluation_options(CLI::App& app, EvaluationOptions& options);

struct EvaluationText {
  std::vector<std::int32_t> ids;
  std::size_t bytes = 0;  ///< of the text that `ids` stand for
};
/// No special tokens are added. Errors: not_found, io_error, invalid_argument for an empty text.
EvaluationText read_evaluation_text(const EvaluationOptions& options, const Engine& engine);

Json to_json(const PerplexityResult& result);
Json to_json(const DivergenceResult& result);

}  // namespace krait::cli
