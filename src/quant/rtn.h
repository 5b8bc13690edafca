// Float tensors to int8 or 4 bits by rounding to the nearest multiple of the scale (RTN), or to
// another float dtype, read from the mapped checkpoint without a float copy of the whole tensor.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "core/quant_args.h"
#include "core/tensor.h"
#include "core/thread_pool.h"

namespace krait {

struct QuantizedTensor {
  Tensor q;      ///< i8, the shape of the input; 4 bits: i32 [rows, cols / 8], see core/weight.h
  Tensor scale;  ///< f32 [1] (Strategy::tensor) or [rows, 1] (Strategy::channel); 4 bits: bf16
                 ///< [rows, cols / group]
  Tensor zero_point{};  ///< 4 bits with Strategy::tensor: f32 [1]
};

/// The tensor as `rows` rows (its first dimension; rank 1 is one row) of float values.
/// s = max |w| / 127 over what shares a scale, in double and rounded once to f32 (1 where that
/// maximum is below 1e-30), q = rne(w / s) with the f32 division, in [-127, 127].
/// Errors: bad_data naming `name` for NaN, infinity or a dtype that is no float.
QuantizedTensor quantize_rtn(ThreadPool& threads, const TensorView& view, Strategy strategy,
                             std::string_view name);

/// The same with one scale for each of consecutive parts of the first dimension, whose sizes add up
/// to it, repeated for every row: f32 [rows, 1].
QuantizedTensor quantize_rtn_parts(ThreadPool& threads, const TensorView& view,
                                   std::span<const std::int64_t> parts, std::string_view name);

/// The group that `at_most` columns mean for rows of `cols`: the largest power of two not above it
/// that divides cols.
std::int64_t group_within(std::int64_t at_most, std::int64_t cols);

/// A matrix to 4 bits in groups of `group` (a multiple of 8 that divides the columns). s is the
/// least step for which every weight of the group is within half a step of the grid of -8 to 7:
/// max(max w / 7.5, max -w / 8.5), in double, rounded to bf16 (1 where that is below 1e-30);
/// q = rne(w / s) with the f32 division, in [-8, 7]. Errors: as above.
QuantizedTensor quantize_rtn_4bit(ThreadPool& threads, const TensorView& view, std::int64_t group,
                                  std::string_view name);

/// A parameter [rows, cols], cols a multiple of 8, to 4 bits: 16 values from its least to its
/// largest, value = s (q - z) with s = (max w - min w) / 15 in double, rounded once to f32 (1 where
/// that is below 1e-30), z = -8 - min w / s and q = rne((w - min w) / s) - 8 in f32, in [-8, 7].
/// Errors: as above.
QuantizedTensor quantize_rtn_4bit_tensor(const TensorView& view, std::string_view name);

/// Values rounded to nearest even in `dtype` (f32, f16, bf16). Errors: bad_data naming `name` for
/// NaN or infinity, before or after the conversion. The same dtype borrows `tensor`'s memory.
Tensor convert_float(ThreadPool& threads, const Tensor& tensor, DType dtype, std::string_view name);

/// Every row of a matrix rotated by rotate_row(), as f32. The same errors.
Tensor rotate_rows(ThreadPool& threads, const TensorView& view, std::int64_t block,
                   std::string_view name);

}  // namespace krait
