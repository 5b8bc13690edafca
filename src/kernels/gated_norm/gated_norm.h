// The gated norm of Mamba-2 (Dao and Gu 2024, arXiv 2405.21060, section 7.1): v = y * silu(z), then
// RMSNorm over each of `groups` groups of consecutive channels by itself, quantized as out asks,
// row by row in one pass.
//
// Numerics: v_k = y_k * silu(z_k), z widened to s*q where i8. The sum of v^2 over a group of W
// channels: lane l of 16 takes fma(v_k, v_k, lane_l) for k = l, l+16, ... counted from the group's
// first channel, zero padded, then the tree of linear.h. scale = 1 / sqrt(sum / W + eps).
// out_k = (v_k * scale) * weight_k. silu is that of vec_math.h.
#pragma once

#include "kernels/context.h"

namespace krait {

/// y f32 [T, cols], which is overwritten; z [T, cols]; weight [cols]; out [T, cols].
inline void gated_rms_norm(Context& ctx, const Activation& y, const Activation& z,
                           const float* weight, float eps, std::int64_t groups,
                           const Activation& out) {
  ctx.operations.gated_rms_norm(ctx, y, z, weight, eps, groups, out);
}

}  // namespace krait
