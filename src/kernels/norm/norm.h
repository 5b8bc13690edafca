// residual += add; y = rms_norm(residual) * weight, quantized as y asks, row by row in one pass.
//
// Numerics: r = r + a (f32). sum of r^2: lane l of 16 takes fma(r_k, r_k, lane_l) for
// k = l, l+16, ..., zero padded, then the tree of linear.h. m = sum / cols. scale = 1 / sqrt(m +
// eps), both operations IEEE. y_k = (r_k * scale) * weight_k.
#pragma once

#include "kernels/context.h"

namespace krait {

/// residual [T, cols] f32, updated in place; `add` [T, cols] or nullptr; weight [cols]; y [T,
/// cols].
void add_rms_norm(Context& ctx, float* residual, const float* add, const float* weight, float eps,
                  const Activation& y);

}  // namespace krait
