#include "models/norm.h"

#include "kernels/norm/norm.h"
#include "models/activations.h"

namespace krait {

void add_norm(Context& ctx, float* residual, const float* add, const Norm& norm,
              const Activation& y) {
  const float* weight = norm.weight.as<float>().data();
  if (norm.bias.empty()) {
    add_rms_norm(ctx, residual, add, weight, norm.eps, y);
  } else {
    add_layer_norm(ctx, residual, add, weight, norm.bias.as<float>().data(), norm.eps, y);
  }
}

Activation norm_to_site(Context& ctx, float* residual, const float* add, const Norm& norm,
                        const Site& site, std::int64_t T) {
  if (site.numerics.hadamard_block > 0) {
    const Activation wide =
        f32_activation(ctx.arena.take<float>(T * site.channels), T, site.channels);
    add_norm(ctx, residual, add, norm, wide);
    return to_site(ctx, site, wide);
  }
  const Activation hidden = take_site(ctx, site, T);
  add_norm(ctx, residual, add, norm, hidden);
  observe(ctx, site, hidden);
  return hidden;
}

}  // namespace krait
