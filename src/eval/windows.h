// A text in windows of fixed length, as perplexity() and compare() score it.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "krait/quantize.h"

namespace krait {

/// Mean and its standard error, tokens taken as independent.
struct Mean {
  double value = 0, error = 0;
};
Mean mean_of(std::span<const double> values);

/// The value at share q of the sorted values, between two of them interpolated linearly. Not empty.
double quantile(std::vector<double> values, double q);

/// Calls fn(window) with every window of at least 2 ids, and progress with the tokens done.
/// Errors: invalid_argument for seq_len < 2 or fewer than 2 ids.
void for_each_window(std::span<const std::int32_t> ids, std::int64_t seq_len,
                     const ProgressFn& progress,
                     const std::function<void(std::span<const std::int32_t>)>& fn);

}  // namespace krait
