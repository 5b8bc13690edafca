// Rounding to the nearest: the one for all formats.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "core/thread_pool.h"
#include "quant/steps.h"

namespace krait {

/// w [rows, cols], finite, to the nearest integers of chosen steps: int8 by s = max |w| / 127 over
/// what shares a step, in double and rounded once to f32 (1 where that maximum is below 1e-30),
/// q = rne(w / s) with the f32 division; 4 bits by the least step for which every weight of the
/// group is within half a step of the grid of -8 to 7, max(max w / 7.5, max -w / 8.5), in double,
/// rounded to bf16. `weights` [cols], or none, as in choose_steps().
RoundedMatrix round_nearest(ThreadPool& threads, std::span<const float> w, std::int64_t rows,
                            std::int64_t cols, std::span<const double> weights,
                            const IntegerFormat& format, StepChoice choice);

/// The same of a tensor of floats whose rows are its first dimension, as it is stored. Errors:
/// bad_data naming `name` for NaN, infinity or a dtype that is no float; invalid_argument for a
/// format that does not divide its rows or columns.
QuantizedTensor quantize_nearest(ThreadPool& threads, const Tensor& value,
                                 const IntegerFormat& format, StepChoice choice,
                                 std::string_view name);

}  // namespace krait
