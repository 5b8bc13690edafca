#include "models/blocks/feed_forward.h"

#include "kernels/linear/linear.h"
#include "kernels/nonlinearity/nonlinearity.h"
#include "models/activations.h"

namespace krait {

void visit(FeedForwardWeights& w, const FeedForwardSpec& s, const Site& input,
           const Site& down_input, const LinearSite& told, Visitor& v) {
  const std::int64_t D = v.d_model, F = s.d_ff;
  const auto product = [&](Weight& to, const std::string& role, std::int64_t rows,
                           std::int64_t cols, const Site& from) {
    LinearSite site = told;
    site.role = role;
    site.rows = rows;
    site.cols = cols;
    site.has_bias = s.bias;
    site.adds_to_residual = told.adds_to_residual && &to == &w.down;
    v.product(to, site, from);
  };
  if (s.gated) product(w.gate, s.gate, F, D, input);
  product(w.up, s.up, F, D, input);
  product(w.down, s.down, D, F, down_input);
}

void run(Context& ctx, const FeedForwardWeights& w, const FeedForwardSpec& s,
         const Site& down_input, const Activation& hidden, float* out) {
  const std::int64_t T = hidden.rows, F = s.d_ff;
  const auto product = [&](const Weight& weight) {
    const Activation y = f32_activation(ctx.arena.take<float>(T * F), T, F);
    linear(ctx, weight, hidden, y);
    return y;
  };
  Activation gate;
  if (s.gated) gate = product(w.gate);
  const Activation up = product(w.up);
  const auto activate = [&](const Activation& y) {
    if (s.gated) {
      silu_product(ctx, gate, up, y);
    } else {
      gelu(ctx, s.act == Nonlinearity::gelu_tanh ? Gelu::tanh : Gelu::erf, up, y);
    }
  };
  Activation active = up;
  if (down_input.numerics.hadamard_block > 0) {  // rotated between the two
    activate(up);
    active = to_site(ctx, down_input, up);
  } else {
    if (down_input.is_int8()) active = take_site(ctx, down_input, T);
    activate(active);
    observe(ctx, down_input, active);
  }
  linear(ctx, w.down, active, f32_activation(out, T, w.down.rows()));
}

void visit(FeedForward& f, Visitor& v) {
  const FeedForwardSpec& s = f.spec;
  v.site(f.input, {.role = (s.gated ? s.gate : s.up) + ".input",
                   .channels = v.d_model,
                   .rotatable = true,
                   .norm = v.norm_name});
  v.site(f.down_input, {.role = s.down + ".input", .channels = s.d_ff, .rotatable = true});
  visit(f.weights, s, f.input, f.down_input, {.adds_to_residual = true}, v);
}

void run(Context& ctx, const FeedForward& f, const Pass&, const Activation& hidden, float* out) {
  run(ctx, f.weights, f.spec, f.down_input, hidden, out);
}

}  // namespace krait
