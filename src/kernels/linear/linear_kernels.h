// Microkernels of linear.h: a block of output rows times a block of tokens, on one thread. The
// numerics are those of linear.h to the bit; how a kernel blocks the product never shows.
// Weights of 4 bits have a table of their own, see linear4_kernels.h.
#pragma once

#include <cstdint>

#include "core/outlier.h"

namespace krait {

/// y[t, r] = float(sum_k q_x[t, k] q_w[r, k]) * (s_x[t] * s_w[r]) (+ bias[r]).
struct I8Product {
  const std::int8_t* tiles;     ///< tiles of PackedI8, from the tile of the first row on
  const std::int32_t* row_sum;  ///< [rows rounded up to 16]
  std::int64_t rows;            ///< > 0
  std::int64_t cols4;           ///< tiles per row of tiles
  const std::uint8_t* x;        ///< [tokens, x_stride] made by prepare_i8, 4 * cols4 bytes each
  std::int64_t x_stride;        ///< bytes
  std::int64_t tokens;          ///< > 0
  const float* x_scale;         ///< scale of token t at x_scale[t * x_scale_step]
  std::int64_t x_scale_step;    ///< 0 (tensor) or 1 (token)
  const float* w_scale;         ///< scale of row r at w_scale[r * w_scale_step]
  std::int64_t w_scale_step;    ///< 0 (tensor) or 1 (channel)
  const float* bias;            ///< [rows] or null
  float* y;                     ///< [tokens, y_stride]
  std::int64_t y_stride;        ///< floats
};

/// What the outliers of one token add: o = fma(x_k, float(q_w[r, k]), o) over them in order from
/// +0, y[r] = fma(o, s_w[r], y[r]).
struct I8Outliers {
  const std::int8_t* tiles;   ///< as I8Product
  std::int64_t rows;          ///< > 0
  std::int64_t cols4;         ///< tiles per row of tiles
  const Outlier* outliers;    ///< [count]
  std::int64_t count;         ///< > 0
  const float* w_scale;       ///< scale of row r at w_scale[r * w_scale_step]
  std::int64_t w_scale_step;  ///< 0 (tensor) or 1 (channel)
  float* y;                   ///< [rows]
};

/// y[t, r] = sum_k x[t, k] w[r, k] (+ bias[r]) in the 16 lanes of linear.h.
struct FloatProduct {
  const void* w;          ///< [rows, cols] in the kernel's type, row-major, any alignment
  std::int64_t rows;      ///< > 0
  std::int64_t cols;      ///< > 0
  const float* x;         ///< [tokens, x_stride]
  std::int64_t x_stride;  ///< floats
  std::int64_t tokens;    ///< > 0
  const float* bias;      ///< [rows] or null
  float* y;               ///< [tokens, y_stride]
  std::int64_t y_stride;  ///< floats
};

/// Up to 16 rows of an i8 matrix as it lies on disk, to be one row of tiles.
struct I8Rows {
  const std::int8_t* q;   ///< [rows, cols], row-major, any alignment
  std::int64_t rows;      ///< 1 to 16
  std::int64_t cols;      ///< > 0
  std::int8_t* tiles;     ///< [ceil(cols / 4), 16, 4]
  std::int32_t* row_sum;  ///< [16]
};

struct LinearKernels {
  /// One row of x in the form that `i8` of the same table reads: `padded` >= cols bytes.
  void (*prepare_i8)(const std::int8_t* x, std::int64_t cols, std::uint8_t* out,
                     std::int64_t padded);
  void (*pack_i8)(const I8Rows& rows);  ///< as pack() does it
  void (*i8)(const I8Product& product);
  void (*i8_outliers)(const I8Outliers& product);
  void (*f32)(const FloatProduct& product);
  void (*f16)(const FloatProduct& product);
  void (*bf16)(const FloatProduct& product);
};

extern const LinearKernels linear_reference, linear_avx2, linear_avx_vnni, linear_avx512,
    linear_neon, linear_neon_dotprod, linear_neon_i8mm;

}  // namespace krait
