// Bias correction: what rounding adds to a product's output in the mean, its bias takes away.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "quant/steps.h"

namespace krait {

/// The inputs of a product summed over tokens, in double precision: x' that its float weights shall
/// be thought to have, those of the float model or x again, and x of the quantized model.
struct InputSums {
  std::int64_t tokens = 0;
  std::vector<double> of_float, of_quantized;  ///< [cols]

  void add(std::span<const float> x_float, std::span<const float> x_quantized,
           std::int64_t cols);  ///< [tokens, cols]
};

/// E[W x' - s q x] [rows], for W [rows, cols] and its integers: what the product's bias has to grow
/// by for the mean of its output to be that of W x' (Nagel et al. 2019, arXiv 1906.04721, equation
/// 1; Finkelstein et al. 2019, arXiv 1906.03193). At least one token was seen.
std::vector<double> mean_output_error(std::span<const float> w, const RoundedMatrix& rounded,
                                      const IntegerFormat& format, const InputSums& sums);

}  // namespace krait
