// Mixture of experts (Shazeer et al. 2017, arXiv 1701.06538): which experts take a token.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/context.h"

namespace krait {

/// The tokens that expert e takes and its weights of their answers: [begin[e], begin[e + 1]), in
/// order of the tokens.
struct Routing {
  std::vector<std::int32_t> tokens;
  std::vector<float> weights;
  std::vector<std::size_t> begin;  ///< [experts + 1]
};

/// The k experts of each token with the largest weights (the lower index on a tie): softmax over
/// all experts, and no renormalisation over the k. logits f32 [T, experts], which become scratch.
/// The choice is handed to the host: what is launched next follows from it.
///
/// Numerics: p_e = exp(x_e - max), l = sum of p in 16 lanes and a tree, as attention.h has them;
/// the weight is p_e / l.
inline Routing top_experts(Context& ctx, const Activation& logits, std::int64_t k) {
  return ctx.operations.top_experts(ctx, logits, k);
}

}  // namespace krait
