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
// nearest even; i8: q = clamp(rne(S * (1 / s) + u)), S = (q - u) * s). exp2 and softplus are those
// of kernels/vec_math.h.
//
// Chunks (section 6 of the paper). The tokens at positions kQ, ..., kQ + Q - 1 of the sequence,
// Q = kSsdChunk, are a chunk. A call that has all of them takes them at once, with an f32 state, as
// products of matrices; all other tokens go through the recurrence above. With delta, a and dx as
// above, s and t in 0..Q-1 the tokens of a chunk, all sums with fma in the order of their index:
//   A[t, s] = a[s + 1] a[s + 2] ... a[t], multiplied in this order, 1 for s = t
//   e[t] = a[0] a[1] ... a[t];  G[t, s] = sum_n C[t, n] B[s, n], from 0: once for all of a group
//   y[t, p] = fma(e[t], sum_n C[t, n] S[n, p], D[p] * x[t, p]), the sum from 0; then
//             fma(A[t, s] * G[t, s], dx[s, p], y[t, p]) for s = 0..t
//   S[n, p] = e[Q - 1] * S[n, p]; then fma(B[s, n], A[Q - 1, s] * dx[s, p], S[n, p]) for s = 0..Q-1
// Decays are multiplied as the recurrence does, never divided: all are at most 1 and none overflows
// or cancels. No y depends on a later token.
//
// So the bits depend on which chunks a call has in whole, and on nothing else: not on threads and
// instruction sets, and not on the calls as long as they end at multiples of Q, or only in the
// last, incomplete chunk. Chunks and the recurrence round differently: see kSsdTolerance. f16 and
// int8 states are rounded after every token, so they have no chunks, and any calls, step-by-step
// decode included, give the same bits.
//
// s is given (static), or measured after every token (dynamic): s[p] = max(max_n |S[n, p]|, 1e-30)
// / 127, and then q is in [-127, 127]. u is 0, or noise that is added before rounding and taken off
// again (subtractive dither: Schuchman 1964, "Dither Signals and Their Effect on Quantization
// Noise"): the error is then uniform, of mean 0 and the same variance 1/12 for every S, instead of
// 0 for what moves by less than half a step. u is uniform on the odd multiples of 2^-25 in (-1/2,
// 1/2) and a function of seed, position, h, n and p alone. With c = (h N + n) P + p, and low and
// high the halves of mix(seed 2^40 + position), all modulo 2^32:
//   x = c * 0x9e3779b9 + low; x ^= x >> 16; x *= 0x7feb352d; x ^= x >> 15;
//   x = (x + high) * 0x846ca68b; u = (2 floor(x / 2^8) + 1) 2^-25 with x read as signed
// The multipliers are those of lowbias32 (Wellons 2018, "Prospecting for Hash Functions"); mix() is
// one step of splitmix64 (Steele et al. 2014).
#pragma once

#include "kernels/context.h"

namespace krait {

/// Tokens of a chunk.
constexpr int kSsdChunk = 16;

/// How far chunks and the recurrence can be apart in what follows from the same state and inputs:
/// |difference| of y[t, p] <= tolerance * (sum_n |C[n]| M[n, p] + |D[p] x[p]|), and of S[n, p] <=
/// tolerance * M[n, p], where M is what S would be were its start and all x and B their absolute
/// values. Measured is at most a quarter of this; chunks are the nearer ones to the exact result.
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

/// The recurrent state of one sequence in one layer: [H, N, P]. An int8 state has one of `scale`,
/// `clusters` and `row_scale`.
struct SsdState {
  void* data = nullptr;
  DType dtype = DType::f32;      ///< f32, f16 or i8
  const float* scale = nullptr;  ///< static, [H P]
  SsdClusterScales clusters{};   ///< static
  float* row_scale = nullptr;    ///< dynamic, [H P]: part of the state, read and updated
  bool dithered = false;         ///< dynamic: with noise u
  std::uint64_t seed = 0;        ///< dithered: below 2^24, one for each state of a sequence
  std::int64_t position = 0;     ///< of the first token of x in the sequence
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

/// u of a dithered state that stands at `position`, that is of the token before it, for its value i
/// in memory order: S = (q - u) * s. For those who look at a state.
float ssd_noise(const SsdState& state, std::int64_t i);

/// One sequence; the state is read and updated. y [T, H P] f32, no overlap with inputs.
void ssd(Context& ctx, const SsdParams& params, const SsdInputs& in, SsdState state,
         const Activation& y);

}  // namespace krait
