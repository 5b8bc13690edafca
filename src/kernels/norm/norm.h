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
inline void add_rms_norm(Context& ctx, float* residual, const float* add, const float* weight,
                         float eps, const Activation& y) {
  ctx.operations.add_rms_norm(ctx, residual, add, weight, eps, y);
}

/// LayerNorm (Ba et al. 2016, arXiv 1607.06450): the same with a mean and a bias.
///
/// Numerics: r = r + a. mean = sum / cols, the sum of r in lanes and tree as above (plain
/// additions). d = r - mean. v = sum / cols, the sum of d^2 as above. scale = 1 / sqrt(v + eps).
/// y_k = fma(d_k * scale, weight_k, bias_k).
inline void add_layer_norm(Context& ctx, float* residual, const float* add, const float* weight,
                           const float* bias, float eps, const Activation& y) {
  ctx.operations.add_layer_norm(ctx, residual, add, weight, bias, eps, y);
}

}  // namespace krait
