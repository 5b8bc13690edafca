// Microkernels of attention.h. n >= 0, no alignment needed. The scores are products of linear/.
#pragma once

#include <cstdint>

namespace krait {

struct AttentionKernels {
  /// (a, b) = (a cos - b sin, b cos + a sin) for a = x[i], b = x[half + i], i < half.
  void (*rotate)(float* x, const float* cos, const float* sin, std::int64_t half);
  /// s = exp(s * scale - max(s * scale)); the sum of s in 16 lanes and a tree. n > 0.
  float (*exponentials)(float* s, std::int64_t n, float scale);
  /// o[r, d] = fma(p[r, j], v[j, d], o[r, d]) for j = 0, 1, ..., keys - 1; v rows are `cols` apart.
  void (*add_weighted)(const float* p, std::int64_t p_stride, std::int64_t rows, const float* v,
                       std::int64_t keys, std::int64_t cols, float* o);
  /// y = x / divisor
  void (*divide)(const float* x, float divisor, float* y, std::int64_t n);
  void (*widen_f16)(const std::uint16_t* x, float* y, std::int64_t n);
  void (*narrow_f16)(const float* x, std::uint16_t* y, std::int64_t n);
};

extern const AttentionKernels attention_reference, attention_avx2, attention_avx512, attention_neon;

}  // namespace krait
