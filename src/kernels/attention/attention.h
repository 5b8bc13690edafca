// Causal attention over the rows that a sequence keeps (Vaswani et al. 2017, arXiv
// 1706.03762, 3.2), with groups of heads that share keys and values (Ainslie et al. 2023, arXiv
// 2305.13245), and rotary positions (Su et al. 2021, arXiv 2104.09864).
//
// Numerics, to the bit, for one head and the query at position t, over keys j = 0, 1, ..., t:
//  * s_j = q k_j as linear.h multiplies float weights: 16 lanes over head_dim and a tree. k_j and
//    v_j are what the cache holds, widened to f32 (i8: scale * q), the query's own row included.
//  * m = max of s_j * scale; p_j = exp(s_j * scale - m) of vec_math.h; l = sum of p_j: lane j mod
//  16
//    adds in order of j, then the tree of linear.h.
//  * o_d = fma(p_j, v_jd, o_d) from +0 in order of j; y_d = o_d / l.
// Nothing depends on how a text is cut into calls, on threads or on the instruction set.
#pragma once

#include <cstdint>
#include <span>

#include "core/dtype.h"
#include "kernels/context.h"
#include "kernels/sequences.h"

namespace krait {

/// Head h of token t: head_dim f32 values from data + t * stride + h * head_stride on.
struct HeadRows {
  float* data = nullptr;
  std::int64_t stride = 0, head_stride = 0;
  float* at(std::int64_t t, std::int64_t h) const { return data + t * stride + h * head_stride; }
};

/// What is kept of one head: rows of head_dim, one for each token from the first on.
struct HeadCache {
  void* k = nullptr;
  void* v = nullptr;
  float* k_scale = nullptr;  ///< i8: one per token, absmax / 127 as Activation describes
  float* v_scale = nullptr;
};

struct AttentionShape {
  std::int64_t heads = 0;  ///< of queries; heads / kv_heads consecutive ones share a head of keys
  std::int64_t kv_heads = 0;  ///< of keys and values
  std::int64_t head_dim = 0;
};

struct AttentionInputs {
  AttentionShape shape;
  float scale = 1;   ///< of the scores: 1 / sqrt(head_dim)
  HeadRows q, k, v;  ///< [T, heads | kv_heads, head_dim], after rotation
  DType k_dtype = DType::f32, v_dtype = DType::f32;  ///< of the caches: f32, f16 or i8
};

/// Of each sequence, which has `position` rows already: appends k and v to its caches [kv_heads],
/// which have room for them, then y f32 [T, heads * head_dim] = attention of q.
inline void attention(Context& ctx, const AttentionInputs& in,
                      std::span<const SequenceRun<const HeadCache*>> sequences,
                      const Activation& y) {
  ctx.operations.attention(ctx, in, sequences, y);
}

/// cos and sin [T, half] of the angles position * inverse_frequencies[i] (both and their product in
/// f32, as transformers has them; cos and sin in f64, rounded once).
inline void rotary_angles(Context& ctx, std::span<const float> inverse_frequencies,
                          std::span<const SequenceRows> sequences, float* cos, float* sin) {
  ctx.operations.rotary_angles(ctx, inverse_frequencies, sequences, cos, sin);
}

/// Rotates the first 2 * half values of each head in place: value i with value half + i.
/// Numerics: a cos - b sin and b cos + a sin, each operation rounded.
inline void rotary(Context& ctx, const float* cos, const float* sin, std::int64_t half,
                   const HeadRows& x, std::int64_t tokens, std::int64_t heads) {
  ctx.operations.rotary(ctx, cos, sin, half, x, tokens, heads);
}

}  // namespace krait
