// Float tensors to int8 by rounding to the nearest multiple of the scale (RTN), or to another float
// dtype, read from the mapped checkpoint without a float copy of the whole tensor.
#pragma once

#include <cstdint>
#include <string_view>

#include "core/quant_args.h"
#include "core/tensor.h"
#include "core/thread_pool.h"

namespace krait {

struct QuantizedTensor {
  Tensor q;      ///< i8, the shape of the input
  Tensor scale;  ///< f32 [1] (Strategy::tensor) or [rows, 1] (Strategy::channel)
};

/// The tensor as `rows` rows (its first dimension; rank 1 is one row) of float values.
/// s = max |w| / 127 over what shares a scale, in double and rounded once to f32 (1 where that
/// maximum is below 1e-30), q = rne(w / s) with the f32 division, in [-127, 127].
/// Errors: bad_data naming `name` for NaN, infinity or a dtype that is no float.
QuantizedTensor quantize_rtn(ThreadPool& threads, const TensorView& view, Strategy strategy,
                             std::string_view name);

/// Values rounded to nearest even in `dtype` (f32, f16, bf16). Errors: bad_data naming `name` for
/// NaN or infinity, before or after the conversion. The same dtype borrows `tensor`'s memory.
Tensor convert_float(ThreadPool& threads, const Tensor& tensor, DType dtype, std::string_view name);

/// Every row of a matrix rotated by rotate_row(), as f32. The same errors.
Tensor rotate_rows(ThreadPool& threads, const TensorView& view, std::int64_t block,
                   std::string_view name);

}  // namespace krait
