// Microkernels of nonlinearity.h: one row each. n >= 0, no alignment needed, y may be an input.
#pragma once

#include <cstdint>

namespace krait {

struct NonlinearityKernels {
  void (*gelu)(const float* x, float* y, std::int64_t n);
  void (*gelu_tanh)(const float* x, float* y, std::int64_t n);
  /// y = silu(gate) * up
  void (*silu_product)(const float* gate, const float* up, float* y, std::int64_t n);
};

extern const NonlinearityKernels nonlinearity_reference, nonlinearity_avx2, nonlinearity_avx512,
    nonlinearity_neon;

}  // namespace krait
