// The selective state-space recurrence of Mamba (Gu and Dao 2023, section 3.2 and algorithm 2):
//   delta = softplus(dt + dt_bias)
//   h[n]  = exp(delta A[n]) h[n] + (delta u) B[n]
//   y     = (sum_n C[n] h[n] + D u) * silu(z)
//
// Numerics, per token and channel, everything f32 after widening i8 inputs to s*q:
//   x = dt + dt_bias (0 if none); delta = softplus(x); du = delta * u
//   for n = 0..N-1: a = exp2(delta * a2[n]), a2 = A * log2(e) rounded once at load
//                   h[n] = fma(a, h[n], du * B[n])
//                   y = fma(C[n], h[n], y) starting from y = D * u
//   y = y * silu(z)   (no z: y as it is)
// and then h[n] is rounded to the state's numerics after every token (f32: nothing; f16: round to
// nearest even; i8: clamp(rne(h / s)) * s), so that prefill in any chunks and step-by-step decode
// agree to the bit. exp2, silu and softplus are those of kernels/vec_math.h.
#pragma once

#include <span>

#include "kernels/context.h"
#include "kernels/sequences.h"

namespace krait {

struct ScanInputs {
  Activation u;   ///< [T, C]
  Activation dt;  ///< [T, C] before bias and softplus
  Activation B;   ///< [T, N]
  Activation C;   ///< [T, N]
  Activation z;   ///< [T, C]; data == nullptr for no gate
};

struct ScanParams {
  const float* a2;                     ///< [N, C] = -exp(A_log) * log2(e)
  const float* D;                      ///< [C]
  const float* dt_bias;                ///< [C] or nullptr
  std::int64_t states;                 ///< N
  DType state_dtype = DType::f32;      ///< f32, f16 or i8
  const float* state_scale = nullptr;  ///< i8: [C], static
};

/// Each sequence has its state [N, C], channel contiguous, which is read and updated. y [T, C] f32,
/// no overlap with inputs.
inline void selective_scan(Context& ctx, const ScanParams& params, const ScanInputs& in,
                           std::span<const SequenceRun<void*>> sequences, const Activation& y) {
  ctx.operations.selective_scan(ctx, params, in, sequences, y);
}

}  // namespace krait
