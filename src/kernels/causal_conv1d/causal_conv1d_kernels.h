// Microkernels of causal_conv1d.h: one token, n channels. n >= 0, no alignment needed.
#pragma once

#include <cstdint>

namespace krait {

/// x[k] points to the input that meets tap k (a row of the activation or of the state) and w to the
/// weights of tap 0, `stride` elements before those of tap 1. bias may be nullptr.
struct ConvTaps {
  const void* const* x;
  const void* w;
  std::int64_t stride;
  std::int64_t taps;
  const float* bias;
};

struct CausalConv1dKernels {
  /// x and w are float: u = silu(fma(w[K-1], x[K-1], ... fma(w[0], x[0], bias)))
  void (*conv_f32)(const ConvTaps& taps, float* u, std::int64_t n);
  /// x and w are int8: u = silu(fma(float(sum of w x), weight_scale[c] * x_scale, bias))
  void (*conv_i8)(const ConvTaps& taps, const float* weight_scale, float x_scale, float* u,
                  std::int64_t n);
};

extern const CausalConv1dKernels causal_conv1d_reference, causal_conv1d_avx2, causal_conv1d_avx512,
    causal_conv1d_neon;

}  // namespace krait
