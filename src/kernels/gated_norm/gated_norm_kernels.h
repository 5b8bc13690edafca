// Microkernels of gated_norm.h: one group of one row each. n >= 0, no alignment needed.
#pragma once

#include <cstdint>

namespace krait {

struct GatedNormKernels {
  /// v *= silu(z); the sum of v^2 in 16 lanes and a tree.
  float (*gate_sum_of_squares)(float* v, const float* z, std::int64_t n);
};

extern const GatedNormKernels gated_norm_reference, gated_norm_avx2, gated_norm_avx512,
    gated_norm_neon;

}  // namespace krait
