// causal_conv1d_kernels.h over Vec: included by one file per instruction set, after its vec header.
#pragma once

#include "kernels/causal_conv1d/causal_conv1d_kernels.h"
#include "kernels/vec_math.h"

namespace krait {
namespace {

template <typename T>
inline const T* input(const ConvTaps& taps, std::int64_t k, std::int64_t c) {
  return static_cast<const T*>(taps.x[k]) + c;
}
template <typename T>
inline const T* weight(const ConvTaps& taps, std::int64_t k, std::int64_t c) {
  return static_cast<const T*>(taps.w) + k * taps.stride + c;
}
template <typename P>
inline Vec bias_or_zero(const ConvTaps& taps, std::int64_t c, P part) {
  return taps.bias ? load(taps.bias + c, part) : broadcast(0.0f);
}

/// `fixed` is the number of taps, or 0 to take it from `taps`.
template <int fixed>
void conv_f32_taps(const ConvTaps& taps, float* u, std::int64_t n) {
  const std::int64_t count = fixed ? fixed : taps.taps;
  for_blocks<kLanes>(n, [&](std::int64_t c, auto part) {
    Vec v = bias_or_zero(taps, c, part);
    for (std::int64_t k = 0; k < count; ++k) {
      v = fma(load(weight<float>(taps, k, c), part), load(input<float>(taps, k, c), part), v);
    }
    store(u + c, silu(v), part);
  });
}

template <int fixed>
void conv_i8_taps(const ConvTaps& taps, const float* weight_scale, float x_scale, float* u,
                  std::int64_t n) {
  const std::int64_t count = fixed ? fixed : taps.taps;
  const Vec s_x = broadcast(x_scale);
  for_blocks<kLanes>(n, [&](std::int64_t c, auto part) {
    Ints sum = zero_ints();
    for (std::int64_t k = 0; k < count; ++k) {
      sum = multiply_add(sum, load_i8(weight<std::int8_t>(taps, k, c), part),
                         load_i8(input<std::int8_t>(taps, k, c), part));
    }
    const Vec scale = load(weight_scale + c, part) * s_x;
    store(u + c, silu(fma(to_float(sum), scale, bias_or_zero(taps, c, part))), part);
  });
}

void conv_f32(const ConvTaps& taps, float* u, std::int64_t n) {
  taps.taps == 4 ? conv_f32_taps<4>(taps, u, n) : conv_f32_taps<0>(taps, u, n);
}

void conv_i8(const ConvTaps& taps, const float* weight_scale, float x_scale, float* u,
             std::int64_t n) {
  taps.taps == 4 ? conv_i8_taps<4>(taps, weight_scale, x_scale, u, n)
                 : conv_i8_taps<0>(taps, weight_scale, x_scale, u, n);
}

constexpr CausalConv1dKernels kCausalConv1dKernels{conv_f32, conv_i8};

}  // namespace
}  // namespace krait
