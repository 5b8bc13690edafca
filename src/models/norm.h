// Norms of a model, and the norm in front of a block.
#pragma once

#include "kernels/context.h"
#include "models/weights.h"

namespace krait {

/// RMSNorm, or LayerNorm if it has a bias: NormSpec, loaded.
struct Norm {
  Tensor weight;  ///< f32 [cols]
  float eps = 1e-5f;
  Tensor bias = {};  ///< f32 [cols] or empty
};

/// residual += add (unless nullptr); y = norm(residual), in the numerics of y. [T, cols] each.
void add_norm(Context& ctx, float* residual, const float* add, const Norm& norm,
              const Activation& y);

/// norm(residual + add) as the site keeps it: rotated where its weights are, and quantized. The
/// residual [T, channels] takes `add` (unless nullptr); the site is observed.
Activation norm_to_site(Context& ctx, float* residual, const float* add, const Norm& norm,
                        const Site& site, std::int64_t T);

}  // namespace krait
