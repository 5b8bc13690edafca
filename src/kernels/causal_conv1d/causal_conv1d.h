// u_t = silu(bias + sum_k w[k] x_{t-K+1+k}): depthwise causal convolution and SiLU.
//
// Numerics. i8 weight and i8 x with a static tensor scale: acc = sum_k q_w q_x in int32;
// v = fma(float(acc), s_w[c] * s_x, bias). Anything else: both widened to s*q where i8, and
// v = bias (0 if none); for k = 0..K-1: v = fma(w[k], x[t-K+1+k], v).
// Then u = silu(v) of kernels/vec_math.h.
#pragma once

#include <span>

#include "core/tensor.h"
#include "kernels/context.h"
#include "kernels/sequences.h"

namespace krait {

/// Depthwise weights, transposed to time-major for vectors over channels.
struct ConvWeight {
  Tensor data;   ///< f32 or i8 [K, C]; k = K-1 meets the newest input
  Tensor scale;  ///< i8: f32 [C] (a tensor scale is expanded at load)
  Tensor bias;   ///< f32 [C] or empty
  std::int64_t kernel() const { return data.shape()[0]; }
  std::int64_t channels() const { return data.shape()[1]; }
};

/// x [T, C] -> u [T, C]. Each sequence keeps its last K-1 inputs, oldest first, [K-1, C], updated
/// in place; i8 if x is i8 with a static tensor scale (its raw q), f32 otherwise.
inline void causal_conv1d(Context& ctx, const ConvWeight& weight, const Activation& x,
                          std::span<const SequenceRun<void*>> sequences, const Activation& u) {
  ctx.operations.causal_conv1d(ctx, weight, x, sequences, u);
}

}  // namespace krait
