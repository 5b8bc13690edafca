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
void add_evaluation_options(CLI::App& app, EvaluationOptions& options, bool file_required = true);

struct EvaluationText {
  std::vector<std::int32_t> ids;
  std::size_t bytes = 0;  ///< of the text that `ids` stand for
};
/// The first `max_tokens` ids of a text (0: all), without special tokens. Error: invalid_argument,
/// naming `where`, for fewer than 2.
EvaluationText encode_evaluation_text(const std::string& text, const std::string& where,
                                      std::int64_t max_tokens, const Engine& engine);
/// That of the options' file. Errors: also not_found, io_error.
EvaluationText read_evaluation_text(const EvaluationOptions& options, const Engine& engine);

Json to_json(const PerplexityResult& result);
Json to_json(const DivergenceResult& result);

}  // namespace krait::cli
