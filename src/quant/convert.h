// Float tensors in another float dtype, or rotated.
#pragma once

#include <cstdint>
#include <string_view>

#include "core/tensor.h"
#include "core/thread_pool.h"

namespace krait {

/// Values rounded to nearest even in `dtype` (f32, f16, bf16). Errors: bad_data naming `name` for
/// NaN or infinity, before or after the conversion. The same dtype borrows `tensor`'s memory.
Tensor convert_float(ThreadPool& threads, const Tensor& tensor, DType dtype, std::string_view name);

/// Every row of a matrix rotated by rotate_row(), as f32. The same errors.
Tensor rotate_rows(ThreadPool& threads, const TensorView& view, std::int64_t block,
                   std::string_view name);

}  // namespace krait
