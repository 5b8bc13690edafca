// Results of krait's measurements as JSON and as cells of tables: what commands and sweeps share.
#pragma once

#include <string>
#include <vector>

#include "eval/drift.h"
#include "eval/recall.h"
#include "eval/site_errors.h"
#include "eval/windows.h"
#include "io/json.h"
#include "krait/engine.h"

namespace krait::cli {

inline constexpr double kQuantile95 = 1.959964;  // of the normal distribution, two-sided

/// {"mean", "stderr", "low", "high"}: a paired difference with its 95 % interval, `quantile`
/// standard errors to each side.
Json difference_json(const Mean& difference, double quantile = kQuantile95);
/// "+0.0012 (-0.0004 to +0.0028)".
std::string difference_text(const Mean& difference, int digits, double quantile = kQuantile95);

/// Ids of the filler text: a file's, or of the text that comes with krait if `file` is empty.
/// Errors: not_found, io_error; invalid_argument if nothing is in it.
std::vector<std::int32_t> read_filler(const std::string& file, const Engine& engine);

/// One object for each cell; `reference` is empty or as long as `cells`.
Json to_json(const std::vector<RecallCell>& cells, const std::vector<RecallCell>& reference);

Json to_json(const DriftResult& drift);
/// {"sites": [...], "products": [...]}; an error that cannot be known is null.
Json to_json(const SiteErrors& errors);

}  // namespace krait::cli
