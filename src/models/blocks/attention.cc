#include "models/blocks/attention.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "kernels/attention/attention.h"
#include "kernels/linear/linear.h"
#include "kernels/rows/rows.h"
#include "models/activations.h"

namespace krait {
namespace {

std::size_t buffers_per_head(const Attention& a) {
  return 2u + a.k_cache.is_int8() + a.v_cache.is_int8();
}

HeadCache cache_of(const Attention& a, SequenceState& state, std::size_t head) {
  std::size_t buffer = a.first_buffer + head * buffers_per_head(a);
  HeadCache cache;
  cache.k = state.buffer(buffer++);
  if (a.k_cache.is_int8()) cache.k_scale = static_cast<float*>(state.buffer(buffer++));
  cache.v = state.buffer(buffer++);
  if (a.v_cache.is_int8()) cache.v_scale = static_cast<float*>(state.buffer(buffer++));
  return cache;
}

/// A tap sees the new rows, as f32 and without gaps.
void observe_rows(Context& ctx, const Site& site, const AttentionSpec& shape, const HeadRows& rows,
                  std::int64_t tokens) {
  if (!ctx.tap) return;
  const Arena::Scope scope(ctx.arena);
  const std::int64_t cols = shape.kv_heads * shape.head_dim;
  float* copy = ctx.arena.take<float>(tokens * cols);
  for (std::int64_t h = 0; h < shape.kv_heads; ++h) {
    copy_rows(ctx, f32_activation(rows.at(0, h), tokens, shape.head_dim, rows.stride),
              f32_activation(copy + h * shape.head_dim, tokens, shape.head_dim, cols));
  }
  observe(ctx, site, f32_activation(copy, tokens, cols));
}

/// Keys, values and queries of the batch.
struct HeadInputs {
  HeadRows q, k, v;
};

HeadInputs project(Context& ctx, const Attention& a, const Activation& hidden) {
  const std::int64_t T = hidden.rows, dim = a.spec.head_dim;
  const auto product = [&](const Weight& weight) {
    const Activation y = f32_activation(ctx.arena.take<float>(T * weight.rows()), T, weight.rows());
    linear(ctx, weight, hidden, y);
    return static_cast<float*>(y.data);
  };
  if (a.spec.fused) {
    float* const qkv = product(a.qkv);  // [T, heads, 3, head_dim]
    const std::int64_t stride = a.qkv.rows();
    return {.q = {qkv, stride, 3 * dim},
            .k = {qkv + dim, stride, 3 * dim},
            .v = {qkv + 2 * dim, stride, 3 * dim}};
  }
  const auto rows = [&](const Weight& weight) {
    return HeadRows{product(weight), weight.rows(), dim};
  };
  const HeadRows q = rows(a.q), k = rows(a.k), v = rows(a.v);
  return {q, k, v};
}

/// y f32 [T, heads * head_dim], positions already applied.
void attend(Context& ctx, const Attention& a, const Pass& pass, const HeadInputs& in,
            const Activation& y) {
  observe_rows(ctx, a.k_cache, a.spec, in.k, y.rows);
  observe_rows(ctx, a.v_cache, a.spec, in.v, y.rows);
  const auto heads = static_cast<std::size_t>(a.spec.kv_heads);
  std::vector<HeadCache> caches;  // of all sequences
  for (SequenceState* state : pass.batch.states) {
    for (std::size_t head = 0; head < heads; ++head) caches.push_back(cache_of(a, *state, head));
  }
  const HeadCache* next = caches.data();
  const auto runs =
      runs_of(pass, [&](SequenceState&) { return std::exchange(next, next + heads); });
  attention(ctx,
            {.shape = {a.spec.heads, a.spec.kv_heads, a.spec.head_dim},
             .scale = 1.0f / std::sqrt(static_cast<float>(a.spec.head_dim)),
             .q = in.q,
             .k = in.k,
             .v = in.v,
             .k_dtype = a.k_cache.state_dtype(),
             .v_dtype = a.v_cache.state_dtype()},
            runs, y);
}

}  // namespace

void visit(Attention& a, Visitor& v) {
  const AttentionSpec& s = a.spec;
  const std::int64_t D = v.d_model, width = s.heads * s.head_dim, kv = s.kv_heads * s.head_dim;
  v.site(a.input, {.role = (s.fused ? s.qkv : s.q) + ".input",
                   .channels = D,
                   .rotatable = true,
                   .norm = v.norm_name});
  v.site(a.k_cache, {.role = "k_cache", .channels = kv, .is_state = true, .is_cache = true});
  v.site(a.v_cache, {.role = "v_cache", .channels = kv, .is_state = true, .is_cache = true});
  v.site(a.out_input, {.role = s.out + ".input", .channels = width, .rotatable = true});
  const auto product = [&](Weight& to, const std::string& role, std::int64_t rows) {
    v.product(to, {.role = role, .rows = rows, .cols = D, .has_bias = s.qkv_bias}, a.input);
  };
  if (s.fused) {
    product(a.qkv, s.qkv, width + 2 * kv);
  } else {
    product(a.q, s.q, width);
    product(a.k, s.k, kv);
    product(a.v, s.v, kv);
  }
  v.product(
      a.out,
      {.role = s.out, .rows = D, .cols = width, .has_bias = s.out_bias, .adds_to_residual = true},
      a.out_input);
}

void add_state(Attention& a, int layer, StateLayout& state) {
  a.first_buffer = state.buffers.size();
  const auto add = [&](const char* name, std::int64_t head, const Site& site) {
    const std::string rows = fmt::format("{}.{}", name, head);
    state.add_per_token(rows, layer, site.state_dtype(), {a.spec.head_dim});
    if (site.is_int8()) state.add_per_token(rows + "_scale", layer, DType::f32, {1});
  };
  for (std::int64_t head = 0; head < a.spec.kv_heads; ++head) {
    add("k_cache", head, a.k_cache);
    add("v_cache", head, a.v_cache);
  }
}

void run(Context& ctx, const Attention& a, const Pass& pass, const Activation& hidden, float* out) {
  const std::int64_t T = hidden.rows, width = a.out.cols();
  const HeadInputs in = project(ctx, a, hidden);
  if (const std::int64_t half = a.spec.rope.dims / 2; half > 0) {
    const auto [cos, sin] = pass.angles[a.angles];
    rotary(ctx, cos, sin, half, in.q, T, a.spec.heads);
    rotary(ctx, cos, sin, half, in.k, T, a.spec.kv_heads);
  }
  const Activation mixed = f32_activation(ctx.arena.take<float>(T * width), T, width);
  attend(ctx, a, pass, in, mixed);
  linear(ctx, a.out, to_site(ctx, a.out_input, mixed), f32_activation(out, T, a.out.rows()));
}

}  // namespace krait
