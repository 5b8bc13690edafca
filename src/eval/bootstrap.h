// Confidence intervals without assumptions about the distribution.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace krait {

struct Interval {
  double low = 0, high = 0;
};

/// Half the width of a 95 % interval of a mean of `count` values, in standard errors: Student's t
/// with count - 1 degrees of freedom; 1.96 from 31 values on, infinite for fewer than 2.
double student95(std::size_t count) noexcept;

/// Tokens of a block, where tokens of a text are resampled: errors of neighbours are alike.
inline constexpr std::int64_t kBootstrapBlock = 256;

/// 95 % interval of the mean of `values`, in the order of the text: percentiles of the means of
/// 2,000 resamples of its blocks of `block` values that do not overlap (Efron 1979; Carlstein 1986;
/// the last block may be shorter). The same numbers give the same interval. The mean itself for
/// less than two blocks.
Interval bootstrap_interval(std::span<const double> values, std::int64_t block = kBootstrapBlock);

}  // namespace krait
