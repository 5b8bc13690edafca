// Microkernels of linear.h for 4-bit weights in groups: a block of output rows times a block of
// tokens, on one thread. The numerics are those of linear.h to the bit.
#pragma once

#include <cstdint>

namespace krait {

/// A block of rows of a PackedI4.
struct I4Rows {
  const std::uint8_t* lines;  ///< from the first line of the first 16 rows on
  std::int64_t stride;        ///< bytes from 16 rows to the next 16
  bool scale_is_f32;
  std::int64_t rows;   ///< > 0
  std::int64_t cols;   ///< a multiple of group
  std::int64_t group;  ///< a multiple of 8
};

/// y[t, r] = sum_g float(sum_k q_x[t, k] q_w[r, k]) * s_w[r, g] * s_x[t] (+ bias[r]), see linear.h.
struct I4Product {
  I4Rows w;
  const std::int8_t* x;       ///< [tokens, x_stride]
  std::int64_t x_stride;      ///< bytes
  const std::int32_t* x_sum;  ///< [tokens, groups] made by group_sums
  std::int64_t tokens;        ///< > 0
  const float* x_scale;       ///< scale of token t at x_scale[t * x_scale_step]
  std::int64_t x_scale_step;  ///< 0 (tensor) or 1 (token)
  const float* bias;          ///< [rows] or null
  float* y;                   ///< [tokens, y_stride]
  std::int64_t y_stride;      ///< floats
};

/// y[t, r] = sum_g (sum_k x[t, k] q_w[r, k]) * s_w[r, g] (+ bias[r]), see linear.h.
struct I4FloatProduct {
  I4Rows w;
  const float* x;         ///< [tokens, x_stride]
  std::int64_t x_stride;  ///< floats
  std::int64_t tokens;    ///< > 0
  const float* bias;      ///< [rows] or null
  float* y;               ///< [tokens, y_stride]
  std::int64_t y_stride;  ///< floats
};

/// Up to 16 rows of a 4-bit matrix as it lies on disk, to be the lines of 16 rows.
struct I4Source {
  const void* words;    ///< i32 [rows, cols / 8], any alignment
  const void* scales;   ///< bf16 [rows, cols / group], any alignment
  std::int64_t rows;    ///< 1 to 16
  std::int64_t cols;    ///< a multiple of group
  std::int64_t group;   ///< a multiple of 8
  std::uint8_t* lines;  ///< [cols / 8 + ceil(cols / group / 2), 64]
};

struct Linear4Kernels {
  /// sums[g] = -8 times the sum of group g of one row of x: what the weights' offset of 8 adds,
  /// with the sign that takes it off again.
  void (*group_sums)(const std::int8_t* x, std::int64_t cols, std::int64_t group,
                     std::int32_t* sums);
  void (*pack)(const I4Source& rows);  ///< as krait::pack() does it
  void (*i8)(const I4Product& product);
  void (*f32)(const I4FloatProduct& product);
};

extern const Linear4Kernels linear4_reference, linear4_avx2, linear4_avx_vnni, linear4_avx512,
    linear4_neon, linear4_neon_dotprod, linear4_neon_i8mm;

}  // namespace krait
