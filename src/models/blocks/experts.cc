#include "models/blocks/experts.h"

#include <algorithm>

#include <fmt/format.h>

#include "kernels/linear/linear.h"
#include "kernels/routing/routing.h"
#include "models/activations.h"

namespace krait {

void visit(Experts& x, Visitor& v) {
  const std::int64_t D = v.d_model;
  const FeedForwardSpec& each = x.spec.each;
  v.site(x.router_input,
         {.role = "router.input", .channels = D, .rotatable = true, .norm = v.norm_name});
  v.site(x.input,
         {.role = each.gate + ".input", .channels = D, .rotatable = true, .norm = v.norm_name});
  v.site(x.down_input, {.role = each.down + ".input", .channels = each.d_ff, .rotatable = true});
  v.product(x.router, {.role = "router", .kind = "router", .rows = x.spec.experts, .cols = D},
            x.router_input);
  x.experts.resize(static_cast<std::size_t>(x.spec.experts));
  const double share = static_cast<double>(x.spec.per_token) / static_cast<double>(x.spec.experts);
  const std::string prefix = v.prefix;
  for (std::size_t e = 0; e < x.experts.size(); ++e) {
    v.prefix = fmt::format("{}experts.{}.", prefix, e);
    visit(x.experts[e], each, x.input, x.down_input, {.share = share}, v);
  }
  v.prefix = prefix;
}

void run(Context& ctx, const Experts& x, const Pass&, const Activation& hidden, float* out) {
  const std::int64_t T = hidden.rows, D = hidden.cols, k = x.spec.per_token;
  const auto experts = x.spec.experts;
  const Activation logits = f32_activation(ctx.arena.take<float>(T * experts), T, experts);
  Activation routed = hidden;
  if (x.router_input.numerics.hadamard_block > 0) {  // in place, and the experts read it too
    routed.data = ctx.arena.take<float>(T * D);
    std::copy_n(hidden.f32(), T * D, static_cast<float*>(routed.data));
  }
  linear(ctx, x.router, to_site(ctx, x.router_input, routed), logits);
  auto* chosen = ctx.arena.take<std::int32_t>(T * k);
  float* weights = ctx.arena.take<float>(T * k);
  top_experts(ctx, logits, k, chosen, weights);

  const Activation rows = to_site(ctx, x.input, hidden);
  auto* tokens = ctx.arena.take<std::int32_t>(T);
  float* shares = ctx.arena.take<float>(T);
  std::fill_n(out, T * D, 0.0f);
  for (std::int64_t e = 0; e < experts; ++e) {
    std::int64_t count = 0;
    for (std::int64_t i = 0; i < T * k; ++i) {
      if (chosen[i] != e) continue;
      tokens[count] = static_cast<std::int32_t>(i / k);
      shares[count++] = weights[i];
    }
    if (count == 0) continue;
    const Arena::Scope scope(ctx.arena);
    const Activation mine = take_site(ctx, x.input, count);
    gather_rows(rows, tokens, mine);
    float* answers = ctx.arena.take<float>(count * D);
    run(ctx, x.experts[static_cast<std::size_t>(e)], x.spec.each, x.down_input, mine, answers);
    add_weighted_rows(ctx, f32_activation(answers, count, D), tokens, shares, out);
  }
}

}  // namespace krait
