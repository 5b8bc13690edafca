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

/// Codes as the CPU kernels read them: one stream per 16 rows. A line of 64 bytes with the scales
/// of two groups, bf16 [2, 16 rows], precedes the words of the first, 2 b bytes per column, and of
/// the second group; an odd last group leaves half of its line of scales unused. The words of a
/// group are those of Weight::data, [columns / C, 8 pairs of rows]. Rows beyond the last hold
/// zeros. Made once at load by pack().
struct PackedCodes {
  Tensor lines;  ///< u8 [ceil(rows/16), bytes per 16 rows], padded to a multiple of 64
};

/// Columns of a group of codes, at most: 16 rows of a group, decoded, must stay in the first-level
/// cache.
constexpr std::int64_t kMaxCodeGroup = 1024;

/// The matrix of y = x W^T (+ bias): data [rows = outputs, cols = inputs], row-major, as on disk.
/// Weights of 4 bits are always in groups: data is i32 [rows, cols / 8], each word eight values
/// q + 8 with q in [-8, 7], the first column in the lowest bits.
///
/// Codes of b = 2, 3 or 4 bits a weight: data is u8 [ceil(rows / 2), cols b / 4], words of two rows
/// by C columns side by side, C = 16 (b = 2) or 8 (b = 3, 4), in 8, 6 or 8 bytes, the lowest bits
/// first. Weight i = 2 (column % C) + row % 2 of a word is table[w], w the 6 bits from bit b i on,
/// around the end of the word (modulo 2 C b bits). With a table that looks at the lowest b bits of
/// w only this is a code for each weight by itself; otherwise it is a tail-biting trellis code
/// (docs/methods/codes.md). A row beyond the last of an odd number is there and ignored.
/// Always in groups of columns, a multiple of 16, at most kMaxCodeGroup.
struct Weight {
  std::string name;                         ///< of the checkpoint's product, for those who watch
  Tensor data;                              ///< f32, f16, bf16, i8, or i32: 4 bits, or u8: codes
  int code_bits = 0;                        ///< codes: 2, 3 or 4
  Tensor table;                             ///< codes: i8 [64], without -128
  Strategy strategy = Strategy::channel;    ///< integers: what shares a scale
  int group_size = 0;                       ///< Strategy::group: a multiple of 8 that divides cols
  Tensor scale;                             ///< f32 [1] (tensor) | [rows]; f32, f16 or bf16
                                            ///< [rows, cols / group_size]
  Tensor bias;                              ///< f32 [rows] or empty
  std::shared_ptr<const PackedI8> packed;   ///< i8, after pack()
  std::shared_ptr<const PackedI4> packed4;  ///< 4 bits, after pack()
  std::shared_ptr<const PackedCodes> packed_codes;  ///< codes, after pack()

  bool is_4bit() const noexcept { return data.dtype() == DType::i32; }
  bool is_coded() const noexcept { return data.dtype() == DType::u8; }
  std::int64_t rows() const noexcept { return is_coded() ? scale.shape()[0] : data.shape()[0]; }
  std::int64_t cols() const noexcept {
    return is_coded() ? data.shape()[1] * 4 / code_bits : data.shape()[1] * (is_4bit() ? 8 : 1);
  }
};

}  // namespace krait
