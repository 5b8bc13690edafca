// Microkernels of linear.h for weights that are codes: a block of output rows times a block of
// tokens, on one thread. The numerics are those of linear.h to the bit.
#pragma once

#include <cstdint>

#include "core/weight.h"

namespace krait {

/// A block of rows of a PackedCodes.
struct CodedRows {
  const std::uint8_t* lines;  ///< from the first line of the first 16 rows on
  std::int64_t stride;        ///< bytes from 16 rows to the next 16, a multiple of 64
  const std::int8_t* table;   ///< [64], without -128
  int bits;                   ///< 2, 3 or 4
  std::int64_t rows;          ///< > 0
  std::int64_t cols;          ///< a multiple of group
  std::int64_t group;         ///< a multiple of 16, at most kMaxCodeGroup
};

/// y[t, r] = sum_g float(sum_k q_x[t, k] q_w[r, k]) * s_w[r, g] * s_x[t] (+ bias[r]), see linear.h.
struct CodesProduct {
  CodedRows w;
  const std::int8_t* x;       ///< [tokens, x_stride]
  std::int64_t x_stride;      ///< bytes
  const std::int32_t* x_sum;  ///< [tokens, groups] made by Linear4Kernels::group_sums
  std::int64_t tokens;        ///< > 0
  const float* x_scale;       ///< scale of token t at x_scale[t * x_scale_step]
  std::int64_t x_scale_step;  ///< 0 (tensor) or 1 (token)
  const float* bias;          ///< [rows] or null
  float* y;                   ///< [tokens, y_stride]
  std::int64_t y_stride;      ///< floats
};

struct LinearCodesKernels {
  void (*i8)(const CodesProduct& product);
};

extern const LinearCodesKernels linear_codes_reference, linear_codes_avx2, linear_codes_avx_vnni,
    linear_codes_avx512, linear_codes_neon, linear_codes_neon_dotprod, linear_codes_neon_i8mm;

}  // namespace krait
