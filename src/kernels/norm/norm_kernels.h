// Microkernels of norm.h: one row each. n >= 0, no alignment needed.
#pragma once

#include <cstdint>

namespace krait {

struct NormKernels {
  /// r += a (unless a is nullptr); the sum of r^2 in 16 lanes and a tree.
  float (*add_sum_of_squares)(float* r, const float* a, std::int64_t n);
  /// y = (r * scale) * weight
  void (*scale)(const float* r, float scale, const float* weight, float* y, std::int64_t n);
  /// r += a (unless a is nullptr); the sum of r in 16 lanes and a tree.
  float (*add_sum)(float* r, const float* a, std::int64_t n);
  /// y = r - mean; the sum of y^2 in 16 lanes and a tree.
  float (*center)(const float* r, float mean, float* y, std::int64_t n);
  /// y = fma(y * scale, weight, bias)
  void (*scale_shift)(float scale, const float* weight, const float* bias, float* y,
                      std::int64_t n);
};

extern const NormKernels norm_reference, norm_avx2, norm_avx512, norm_neon;

}  // namespace krait
