// How good a rounding is, for the tests of those that look at the inputs.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "quant/rounding_problem.h"

namespace krait {

/// tr (w - s q) H (w - s q)^T
inline double weighted_error(std::span<const float> w, const RoundedMatrix& rounded,
                             std::int64_t rows, std::int64_t cols, std::span<const double> H,
                             const IntegerFormat& format) {
  const RoundingProblem problem{rows, cols, w, format, {}};
  double sum = 0;
  std::vector<double> e(at(cols));
  for (std::int64_t r = 0; r < rows; ++r) {
    residue(problem, rounded, r, e.data());
    for (std::int64_t i = 0; i < cols; ++i) {
      for (std::int64_t j = 0; j < cols; ++j) sum += e[at(i)] * H[at(i * cols + j)] * e[at(j)];
    }
  }
  return sum;
}

}  // namespace krait
