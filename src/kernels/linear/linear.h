// y = x W^T (+ bias): the product of every projection, in any format.
//
// Numerics, to the bit:
//  * float weight (f32, f16, bf16 widened exactly), f32 x: lane l of 16 sums k = l, l+16, ... in
//    order with fma(x_k, w_k, lane_l) from +0, columns zero padded to a multiple of 16; then the
//    lanes are added as a tree: l + (l+8), then +4, +2, +1. y = that sum, then + bias (if any).
//  * i8 weight, i8 x: acc = sum of q_x q_w, exact in int32. y = float(acc) * (s_x * s_w[row]),
//    then + bias. s_x is x's tensor or token scale (x with channel scales is refused).
//  * x split by outliers: then y = fma(o, s_w[row], y), o = fma(x_k, float(q_w), o) over the
//  token's
//    outliers by column from +0. Not with 4-bit weights.
//  * i8 weight, f32 x: x is rounded to 16 bits by token, s = max|x| / 32639 (1 if that maximum is
//    below 1e-30), q = clamp(rne(x / s), -32639, 32639) = 256 h + l as in quantize_kernels.h, and
//    y = float(sum of h q_w) * (256 s * s_w[row]) + float(sum of l q_w) * (s * s_w[row]), both sums
//    exact in int32; then + bias.
//  * 4-bit weight in groups of columns, i8 x: acc_g = sum of q_x q_w over group g, exact in int32;
//    y = fma(float(acc_g), s_w[row, g], y) over the groups in order from +0; then y * s_x, then
//    + bias.
//  * 4-bit weight in groups, f32 x: acc_g = fma(x_k, float(q_w), acc_g) over the columns of group g
//    in order from +0; y = fma(acc_g, s_w[row, g], y) over the groups in order from +0; + bias.
//  * codes, i8 x: as a 4-bit weight, q_w being the table's value.
//  * codes, f32 x or x split by outliers: refused.
//  * i8 x with a float weight: x is widened to s_x * q_x first.
// The f32 result is then stored or quantized as y's Activation asks.
// Results do not depend on threads, tiles, the instruction set or the number of rows of x.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "core/weight.h"
#include "kernels/context.h"

namespace krait {

/// Refuses, with a sentence that names the tensor, what linear() and embedding() cannot do:
/// bad_data for shapes, scales (finite, > 0), groups (a multiple of 8 that divides the columns) and
/// int8 weights or codes of -128; unsupported for other formats, int8 with group scales, 4 bits
/// without, codes in groups that are no multiple of 16 or larger than 1,024, and more than 132,104
/// int8 columns, where int32 sums could overflow. Reads int8 weights and all scales once. For
/// loaders; linear() itself only asserts.
void check_linear(const Weight& weight, const std::string& name);

/// Makes weight.packed of an i8, weight.packed4 of a 4-bit weight or weight.packed_codes (in
/// parallel); does nothing for float weights. From then on linear() and embedding() read the shape
/// and dtype of weight.data only, and of weights in groups no scale but the packed; of that of
/// codes the shape.
inline void pack(Context& ctx, Weight& weight) { ctx.operations.pack(ctx, weight); }

/// x [T, cols] -> y [T, rows]. x and y must not overlap. Integer weights that are not packed are
/// packed on the way, a few rows at a time: slower by what that takes (more so for few tokens), but
/// nothing is kept, and only the weights that are multiplied are touched. 4-bit ones must then have
/// bf16 scales.
inline void linear(Context& ctx, const Weight& weight, const Activation& x, const Activation& y) {
  ctx.operations.linear(ctx, weight, x, y);
}

/// out[t, :] = row ids[t] of the table as f32 (i8, codes: scale * q). Ids must be in [0, rows).
/// Tables have no form of 4-bit integers.
inline void embedding(Context& ctx, const Weight& table, std::span<const std::int32_t> ids,
                      float* out) {
  ctx.operations.embedding(ctx, table, ids, out);
}

}  // namespace krait
