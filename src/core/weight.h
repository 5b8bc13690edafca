// One linear weight in any format.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/quant_args.h"
#include "core/tensor.h"

namespace krait {

/// int8 weights as the CPU kernels read them: tiles of 16 rows by 4 columns, tile (i, j) holding
/// q[16 i + r][4 j + k] at byte ((i * cols4 + j) * 16 + r) * 4 + k, zero padded in both directions.
/// The layout is one for all instruction sets; it is made once at load by pack().
struct PackedI8 {
  Tensor tiles;                       ///< i8 [ceil(rows/16), cols4, 16, 4], cols4 = ceil(cols/4)
  std::vector<std::int32_t> row_sum;  ///< [16 * ceil(rows/16)] sum of q over the row
};

/// 4-bit weights as the CPU kernels read them: one stream of cache lines per 16 rows. A line of
/// weights is 16 rows by 8 columns: the first 4 columns in the low halves of its bytes, the others
/// in the high halves, q[r][8 j + k] + 8 at byte 4 r + k % 4. A line of scales precedes the lines
/// of the two groups (bf16) or the one group (f32) that it is for, [groups, 16 rows]; an odd last
/// group leaves half of its line unused. Rows beyond the last hold zeros. The layout is one for all
/// instruction sets; it is made once at load by pack().
struct PackedI4 {
  Tensor lines;               ///< u8 [ceil(rows/16), lines per 16 rows, 64]
  bool scale_is_f32 = false;  ///< where bf16 would not hold every scale exactly
};

/// The matrix of y = x W^T (+ bias): data [rows = outputs, cols = inputs], row-major, as on disk.
/// Weights of 4 bits are always in groups: data is i32 [rows, cols / 8], each word eight values
/// q + 8 with q in [-8, 7], the first column in the lowest bits.
struct Weight {
  std::string name;                         ///< of the checkpoint's product, for those who watch
  Tensor data;                              ///< f32, f16, bf16, i8, or i32: 4 bits
  Strategy strategy = Strategy::channel;    ///< integers: what shares a scale
  int group_size = 0;                       ///< Strategy::group: a multiple of 8 that divides cols
  Tensor scale;                             ///< f32 [1] (tensor) | [rows]; f32, f16 or bf16
                                            ///< [rows, cols / group_size]
  Tensor bias;                              ///< f32 [rows] or empty
  std::shared_ptr<const PackedI8> packed;   ///< i8, after pack()
  std::shared_ptr<const PackedI4> packed4;  ///< 4 bits, after pack()

  bool is_4bit() const noexcept { return data.dtype() == DType::i32; }
  std::int64_t rows() const noexcept { return data.shape()[0]; }
  std::int64_t cols() const noexcept { return data.shape()[1] * (is_4bit() ? 8 : 1); }
};

}  // namespace krait
