// A matrix of activations together with its numerics. Operations read their inputs from one and
// write their output into one: the output's fields say in which numerics it is wanted, so no
// operation exists twice for two bit widths.
#pragma once

#include <cstdint>

#include "core/dtype.h"
#include "core/outlier.h"
#include "core/quant_args.h"

namespace krait {

/// [rows = tokens, cols = channels], `stride` elements from row to row. A view: copy it freely.
///
/// f32: plain values. i8: value = scale * q with
///   Strategy::tensor   scale[1]
///   Strategy::channel  scale[cols]   (static only; any static grouping of channels expands to it,
///                                     e.g. one scale per head cluster or per state group)
///   Strategy::token    scale[rows]   (dynamic only)
/// Static: the scale is given and the producer saturates. Dynamic: the producer measures
/// absmax over what shares the scale, stores scale = absmax / 127 (1 if absmax < 1e-30; infinite
/// if a value is infinite or NaN, so that no product hides it).
/// Every producer stores q = clamp(rne(x / scale), -128, 127): IEEE division, round half to even.
///
/// Split by outlier_threshold (Strategy::token; LLM.int8, Dettmers et al. 2022, arXiv 2208.07339):
/// values |x| > threshold are outliers of their row: q is 0 there, the scale is measured without
/// them, and they stand in the row's list, by column. Element by element, so that a token's row
/// depends on nothing but the token (the paper decides per column of a batch).
struct Activation {
  void* data = nullptr;
  DType dtype = DType::f32;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::int64_t stride = 0;
  Strategy strategy = Strategy::tensor;
  bool dynamic = false;
  float* scale = nullptr;
  float outlier_threshold = 0;            ///< > 0: split, and the following are there
  Outlier* outliers = nullptr;            ///< [rows, cols]: row t has the first outlier_count[t]
  std::int32_t* outlier_count = nullptr;  ///< [rows]

  const float* f32(std::int64_t row = 0) const {
    return static_cast<const float*>(data) + row * stride;
  }
  float* f32(std::int64_t row = 0) { return static_cast<float*>(data) + row * stride; }
  const std::int8_t* i8(std::int64_t row = 0) const {
    return static_cast<const std::int8_t*>(data) + row * stride;
  }
  std::int8_t* i8(std::int64_t row = 0) { return static_cast<std::int8_t*>(data) + row * stride; }

  /// Columns [begin, end) of the same rows, e.g. x and z of in_proj's output. Not of split rows.
  Activation columns(std::int64_t begin, std::int64_t end) const {
    Activation part = *this;
    part.cols = end - begin;
    part.data = static_cast<char*>(data) + begin * static_cast<std::int64_t>(size_of(dtype));
    if (dtype == DType::i8 && strategy == Strategy::channel && scale) part.scale = scale + begin;
    return part;
  }
  /// Rows [begin, end): one sequence of a batch.
  Activation row_range(std::int64_t begin, std::int64_t end) const {
    Activation part = *this;
    part.rows = end - begin;
    part.data =
        static_cast<char*>(data) + begin * stride * static_cast<std::int64_t>(size_of(dtype));
    if (dtype == DType::i8 && strategy == Strategy::token && scale) part.scale = scale + begin;
    if (outliers) {
      part.outliers = outliers + begin * cols;
      part.outlier_count = outlier_count + begin;
    }
    return part;
  }
};

/// A plain f32 matrix.
inline Activation f32_activation(float* data, std::int64_t rows, std::int64_t cols,
                                 std::int64_t stride = 0) {
  return {.data = data,
          .dtype = DType::f32,
          .rows = rows,
          .cols = cols,
          .stride = stride ? stride : cols};
}

}  // namespace krait
