// The texts that are measured on, and the results of measurements as JSON and as cells of tables.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "eval/divergence.h"
#include "eval/drift.h"
#include "eval/recall.h"
#include "eval/site_errors.h"
#include "eval/speed.h"
#include "eval/windows.h"
#include "io/json.h"
#include "krait/engine.h"

namespace krait {

inline constexpr double kQuantile95 = 1.959964;  // of the normal distribution, two-sided

/// {"mean", "stderr", "low", "high"}: a paired difference with its 95 % interval, `quantile`
/// standard errors to each side.
Json difference_json(const Mean& difference, double quantile = kQuantile95);
/// "+0.0012 (-0.0004 to +0.0028)".
std::string difference_text(const Mean& difference, int digits, double quantile = kQuantile95);

struct EvaluationText {
  std::vector<std::int32_t> ids;
  std::size_t bytes = 0;  ///< of the text that `ids` stand for
};
/// The first `max_tokens` ids of a text (0: all), without special tokens. Error: invalid_argument,
/// naming `where`, for fewer than 2.
EvaluationText encode_evaluation_text(const std::string& text, const std::string& where,
                                      std::int64_t max_tokens, const Engine& engine);

/// Ids of the filler text: a file's, or of the text that comes with krait if `file` is empty.
/// Errors: not_found, io_error; invalid_argument if nothing is in it.
std::vector<std::int32_t> read_filler(const std::string& file, const Engine& engine);

Json to_json(const PerplexityResult& result);
Json to_json(const DivergenceResult& result);

/// One object for each cell; `reference` is empty or as long as `cells`.
Json to_json(const std::vector<RecallCell>& cells, const std::vector<RecallCell>& reference);

Json to_json(const DriftResult& drift);
/// Of a test with bounds, in the words of llama-bench.
Json to_json(const SpeedResult& result);
/// {"sites": [...], "products": [...]}; an error that cannot be known is null.
Json to_json(const SiteErrors& errors);

}  // namespace krait
