// Mixture of experts (Shazeer et al. 2017, arXiv 1701.06538): which experts take a token, and how
// their answers are added.
#pragma once

#include <cstdint>

#include "kernels/context.h"

namespace krait {

/// The k experts of each token and their weights, largest first (the lower index on a tie): softmax
/// over all experts, and no renormalisation over the k. logits f32 [T, experts], which become the
/// exponentials; experts and weights [T, k].
///
/// Numerics: p_e = exp(x_e - max), l = sum of p in 16 lanes and a tree, as attention.h has them;
/// the weight is p_e / l.
void top_experts(Context& ctx, const Activation& logits, std::int64_t k, std::int32_t* experts,
                 float* weights);

/// Rows `tokens` of x, with their scales, in y's memory: y has x's numerics and [count, cols].
void gather_rows(const Activation& x, const std::int32_t* tokens, const Activation& y);

/// out[tokens[i], d] = fma(weights[i], y[i, d], out[tokens[i], d]). y f32 [count, cols], out f32
/// [T, cols]; the tokens differ.
void add_weighted_rows(Context& ctx, const Activation& y, const std::int32_t* tokens,
                       const float* weights, float* out);

}  // namespace krait
