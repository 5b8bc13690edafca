// One linear weight in any format.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
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

/// The matrix of y = x W^T (+ bias): data [rows = outputs, cols = inputs], row-major, as on disk.
struct Weight {
  Tensor data;                             ///< f32, f16, bf16 or i8
  Strategy strategy = Strategy::channel;   ///< i8: what shares a scale
  int group_size = 0;                      ///< i8 with Strategy::group
  Tensor scale;                            ///< i8: f32 [1] (tensor) | [rows] | [rows, cols/group]
  Tensor bias;                             ///< f32 [rows] or empty
  std::shared_ptr<const PackedI8> packed;  ///< i8, after pack()

  std::int64_t rows() const noexcept { return data.shape()[0]; }
  std::int64_t cols() const noexcept { return data.shape()[1]; }
};

}  // namespace krait
