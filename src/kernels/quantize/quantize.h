// f32 <-> int8 as Activation describes: q = clamp(rne(x / scale), -128, 127).
#pragma once

#include "kernels/context.h"
#include "kernels/quantize/quantize_kernels.h"

namespace krait {

/// x f32 [T, C] -> y i8 [T, C] in y's numerics (f32 y: a copy). For dynamic scales this measures
/// absmax first. x and y must not overlap unless y is f32 and equal to x (then nothing happens).
inline void quantize(Context& ctx, const Activation& x, const Activation& y) {
  ctx.operations.quantize(ctx, x, y);
}

/// One row of y (any numerics but dynamic tensor scales, which span rows): what a producer calls as
/// soon as a row is complete. x [y.cols].
void store_row(const QuantizeKernels& kernels, const float* x, const Activation& y,
               std::int64_t row);

/// x in any numerics -> y f32 [T, C].
inline void dequantize(Context& ctx, const Activation& x, const Activation& y) {
  ctx.operations.dequantize(ctx, x, y);
}

/// One row, columns [begin, end), widened to f32 with its outliers; a plain copy if x is f32.
void load_row(const QuantizeKernels& kernels, const Activation& x, std::int64_t row,
              std::int64_t begin, std::int64_t end, float* out);

}  // namespace krait
