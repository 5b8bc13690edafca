// y = H x / sqrt(block) on consecutive blocks of the last dimension, H a Hadamard matrix of
// order block = m * 2^k with m in {1, 12, 20, 28} (40 * 2^k is 20 * 2^(k+1)).
//
// H = H_m (x) S_2^k, index i = c * 2^k + j: Sylvester's butterflies (a+b, a-b) over j with stride
// 1, 2, 4, ..., then H_m over c. H_12 and H_20 are Paley's first construction (q = 11, 19), H_28
// his second (q = 13) (Paley 1933). Sums over c run in order c = 0.. m-1, starting from the term
// of c = 0. The factor 1/sqrt(block), rounded to f32, is multiplied at the end.
// H is used as a fixed orthogonal matrix: (W H^T)(H x) = W x.
#pragma once

#include <span>

#include "kernels/context.h"

namespace krait {

bool hadamard_supported(std::int64_t block) noexcept;
/// The largest supported block that divides n (1 at least: the identity).
std::int64_t largest_hadamard_block(std::int64_t n) noexcept;

/// x f32 [T, n], transformed in place as scratch, then written to y in y's numerics
/// (y f32: y.data == x.data is the usual case). block divides n and is supported.
inline void hadamard(Context& ctx, const Activation& x, std::int64_t block, const Activation& y) {
  ctx.operations.hadamard(ctx, x, block, y);
}

/// x <- H^T x, in place: undoes hadamard(). Sums over c run as there. x f32 [T, n].
inline void hadamard_inverse(Context& ctx, const Activation& x, std::int64_t block) {
  ctx.operations.hadamard_inverse(ctx, x, block);
}

/// The same operator as hadamard() on one row in double precision, for transforming weights
/// offline: W row <- row H^T, i.e. row_i = sum_j H[i][j] row[j] / sqrt(block).
void hadamard_row(std::span<double> row, std::int64_t block);

}  // namespace krait
