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
// nearest even; i8 with static scales: q = clamp(rne(S * (1 / s))), S = q * s). exp2 and softplus
// are those of kernels/vec_math.h.
//
// Chunks (section 6 of the paper). With an f32 or a dynamic int8 state the tokens at positions
// kQ, ..., kQ + Q - 1 of the sequence, Q = kSsdChunk, are a chunk. With delta, a and dx as above, s
// and t in 0..Q-1 the tokens of a chunk, S the state at its start, all sums with fma in the order
// of their index:
//   A[t, s] = a[s + 1] a[s + 2] ... a[t], multiplied in this order, 1 for s = t
//   e[t] = a[0] a[1] ... a[t];  G[t, s] = sum_n C[t, n] B[s, n], from 0: once for all of a group
//   y[t, p] = fma(e[t], sum_n C[t, n] S[n, p], D[p] * x[t, p]), the sum from 0; then
//             fma(A[t, s] * G[t, s], dx[s, p], y[t, p]) for s = 0..t
//   S[n, p] = e[Q - 1] * S[n, p]; then fma(B[s, n], A[Q - 1, s] * dx[s, p], S[n, p]) for s = 0..Q-1
// Decays are multiplied as the recurrence does, never divided: all are at most 1 and none overflows
// or cancels. No y depends on a later token. Until a chunk ends S stays as it is, and what its
// tokens will add is kept as SsdRecent (published as ReplaySSM in 2026: a step then reads the state
// and does not write it): chunks that a call has whole go as products of matrices, others token by
// token, with the same bits.
//
// A dynamic int8 state has a scale for each row, the N states of a channel. At the end of a chunk,
// and only there, S is rounded:
//   s[p] = max(max_n |S[n, p]|, 1e-30) / 127; q = clamp(rne(S * (1 / s)), -127, 127); S = q * s
//
// So any calls, step-by-step decode included, give the same bits, whatever the threads, the
// instruction set and the other sequences: f16 and static int8 states are rounded after every
// token, and with the others every y depends on the chunk's start and the tokens since then alone.
#pragma once

#include <span>

#include "kernels/context.h"
#include "kernels/sequences.h"

namespace krait {

/// Tokens of a chunk.
constexpr int kSsdChunk = 16;

/// How far chunks and the recurrence above can be apart in what follows from the same state and
/// inputs: |difference| of y[t, p] <= tolerance * (sum_n |C[n]| M[n, p] + |D[p] x[p]|), and of
/// S[n, p] <= tolerance * M[n, p], where M is what S would be were its start and all x and B their
/// absolute values. Measured is at most a quarter of this; chunks are the nearer ones to the exact
/// result.
constexpr float kSsdTolerance = 4e-6f;

/// Channels of a head that share static scales: at most this many sets of them.
constexpr int kSsdClusters = 8;

/// Static scales of an int8 state for every state n and cluster of channels. Tables [N,
/// kSsdClusters] lie one behind the other; head h uses table[h], its channel p column slot[h P +
/// p].
struct SsdClusterScales {
  const float* scale = nullptr;
  const float* inverse = nullptr;  ///< 1 / scale
  const std::int32_t* table = nullptr;
  const std::int8_t* slot = nullptr;
};

/// What an f32 or dynamic int8 state keeps of the r = position % Q tokens of an open chunk, t = r -
/// 1 the last of them. What is of tokens from r on is zero.
struct SsdRecent {
  float* dx = nullptr;     ///< [H, Q - 1, P]
  float* B = nullptr;      ///< [G, N, Q]: column s is token s, the last one is never kept
  float* decay = nullptr;  ///< [H, Q]: e[t], A[t, 0], ..., A[t, Q - 2]
};

/// The recurrent state of one sequence in one layer: [H, N, P]. An int8 state has one of `scale`,
/// `clusters` and `row_scale`. The zero state is all zeros, scales of rows included. All sequences
/// of a call keep theirs in the same way.
struct SsdState {
  void* data = nullptr;
  DType dtype = DType::f32;      ///< f32, f16 or i8
  const float* scale = nullptr;  ///< static, [H P]
  SsdClusterScales clusters{};   ///< static
  float* row_scale = nullptr;    ///< dynamic, [H P]: part of the state, read and updated
  SsdRecent recent{};            ///< f32 and dynamic: part of the state
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

/// values f32 [H P, N] = S as the token at `position` finds it, for those who look at a state. What
/// is recent is added as at the end of a chunk, with e[t] and A[t, s] of the last token.
inline void ssd_state_values(Context& ctx, const SsdParams& params, const SsdState& state,
                             std::int64_t position, const Activation& values) {
  ctx.operations.ssd_state_values(ctx, params, state, position, values);
}

/// The states are read and updated. y [T, H P] f32, no overlap with inputs.
inline void ssd(Context& ctx, const SsdParams& params, const SsdInputs& in,
                std::span<const SequenceRun<SsdState>> sequences, const Activation& y) {
  ctx.operations.ssd(ctx, params, in, sequences, y);
}

}  // namespace krait
