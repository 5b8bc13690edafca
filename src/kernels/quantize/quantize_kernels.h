// Microkernels of quantize.h: one row each. n >= 0, no alignment needed.
#pragma once

#include <cstdint>

namespace krait {

struct QuantizeKernels {
  /// max |x[i]|, 0 for n = 0; infinity if one is NaN, so that what is made of it is not finite.
  float (*absmax)(const float* x, std::int64_t n);
  /// q[i] = clamp(rne(x[i] / scale), -128, 127), -128 for NaN
  void (*quantize)(const float* x, float scale, std::int8_t* q, std::int64_t n);
  /// The same with scale[i].
  void (*quantize_channels)(const float* x, const float* scale, std::int8_t* q, std::int64_t n);
  /// 16 bits in two digits: q = clamp(rne(x[i] / scale), -32639, 32639), -32639 for NaN, is
  /// 256 high[i] + low[i] with low in [-128, 127] and high in [-127, 127].
  void (*digits)(const float* x, float scale, std::int8_t* high, std::int8_t* low, std::int64_t n);
  /// x[i] = scale * q[i]
  void (*dequantize)(const std::int8_t* q, float scale, float* x, std::int64_t n);
  void (*dequantize_channels)(const std::int8_t* q, const float* scale, float* x, std::int64_t n);
};

extern const QuantizeKernels quantize_reference, quantize_avx2, quantize_avx512, quantize_neon;

}  // namespace krait
