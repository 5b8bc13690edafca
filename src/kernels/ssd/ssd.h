// The state-space recurrence of Mamba-2 (Dao and Gu 2024, arXiv 2405.21060, section 2 and listing
// 1), one decay per head and token:
//   delta   = clamp(softplus(dt + dt_bias))
//   S[n, p] = exp(delta A) S[n, p] + (delta x[p]) B[n]
//   y[p]    = sum_n C[n] S[n, p] + D[p] x[p]
// Heads h = 0..H-1 of P channels; head h reads B and C of group h / (H / G).
//
// Numerics, per token and head, everything f32 after widening i8 inputs to s*q:
//   delta = min(max(softplus(dt + dt_bias), dt_min), dt_max); a = exp2(delta * a2),
//   a2 = A log2(e) rounded once at load; dx[p] = delta * x[p]
//   for n = 0..N-1: S[n, p] = fma(a, S[n, p], dx[p] * B[n])
//                   y[p] = fma(C[n], S[n, p], y[p]) starting from y[p] = D[p] * x[p]
// and then S is rounded to the state's numerics after every token (f32: nothing; f16: round to
// nearest even; i8: q = clamp(rne(S * (1 / s))), S = q * s), so that prefill in any chunks and
// step-by-step decode agree to the bit. exp2 and softplus are those of kernels/vec_math.h.
#pragma once

#include "kernels/context.h"

namespace krait {

/// The recurrent state of one sequence in one layer: [H, N, P].
struct SsdState {
  void* data = nullptr;
  DType dtype = DType::f32;      ///< f32, f16 or i8
  const float* scale = nullptr;  ///< i8: [H P], static
};

struct SsdInputs {
  Activation x;   ///< [T, H P]
  Activation dt;  ///< [T, H] before bias and softplus
  Activation B;   ///< [T, G N]
  Activation C;   ///< [T, G N]
};

struct SsdParams {
  std::int64_t heads, head_dim, groups, states;  ///< H, P, G, N; G divides H
  const float* a2;                               ///< [H] = -exp(A_log) * log2(e)
  const float* D;                                ///< [H P]
  const float* dt_bias;                          ///< [H]
  float dt_min, dt_max;                          ///< bounds of delta; dt_max may be infinity
};

/// One sequence; the state is read and updated. y [T, H P] f32, no overlap with inputs.
void ssd(Context& ctx, const SsdParams& params, const SsdInputs& in, SsdState state,
         const Activation& y);

}  // namespace krait
