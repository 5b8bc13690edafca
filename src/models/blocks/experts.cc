#include "models/blocks/experts.h"

#include <fmt/format.h>

#include "kernels/linear/linear.h"
#include "kernels/routing/routing.h"
#include "kernels/rows/rows.h"
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
  const std::int64_t T = hidden.rows, D = hidden.cols;
  const auto experts = x.spec.experts;
  const Activation logits = f32_activation(ctx.arena.take<float>(T * experts), T, experts);
  Activation routed = hidden;
  if (x.router_input.numerics.hadamard_block > 0) {  // in place, and the experts read it too
    routed.data = ctx.arena.take<float>(T * D);
    copy_rows(ctx, hidden, routed);
  }
  linear(ctx, x.router, to_site(ctx, x.router_input, routed), logits);
  const Routing routing = top_experts(ctx, logits, x.spec.per_token);

  const Activation rows = to_site(ctx, x.input, hidden);
  clear_rows(ctx, out, T, D);
  for (std::size_t e = 0; e < x.experts.size(); ++e) {
    const std::size_t begin = routing.begin[e], count = routing.begin[e + 1] - begin;
    if (count == 0) continue;
    const auto tokens = std::span(routing.tokens).subspan(begin, count);
    const auto mine_count = static_cast<std::int64_t>(count);
    const Arena::Scope scope(ctx.arena);
    const Activation mine = take_site(ctx, x.input, mine_count);
    gather_rows(ctx, rows, tokens, mine);
    float* answers = ctx.arena.take<float>(mine_count * D);
    run(ctx, x.experts[e], x.spec.each, x.down_input, mine, answers);
    scatter_add(ctx, f32_activation(answers, mine_count, D), tokens,
                std::span(routing.weights).subspan(begin, count), out);
  }
}

}  // namespace krait
