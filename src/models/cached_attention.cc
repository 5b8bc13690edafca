#include "models/cached_attention.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/check.h"
#include "models/activations.h"
#include "models/decoder.h"

namespace krait {
namespace {

DType dtype_of(const Site& site) {
  if (!site.numerics.quantized) return DType::f32;
  return site.numerics.args.is_float ? DType::f16 : DType::i8;
}

std::size_t buffers_per_head(const CachedAttention& a) {
  return 2u + a.k_cache.is_int8() + a.v_cache.is_int8();
}

HeadCache cache_of(const CachedAttention& a, SequenceState& state, std::size_t head) {
  std::size_t buffer = a.first_buffer + head * buffers_per_head(a);
  HeadCache cache;
  cache.k = state.buffer(buffer++);
  if (a.k_cache.is_int8()) cache.k_scale = static_cast<float*>(state.buffer(buffer++));
  cache.v = state.buffer(buffer++);
  if (a.v_cache.is_int8()) cache.v_scale = static_cast<float*>(state.buffer(buffer++));
  return cache;
}

HeadRows rows_from(const HeadRows& rows, std::int64_t begin) {
  return {rows.at(begin, 0), rows.stride, rows.head_stride};
}

/// A tap sees the new rows, as f32 and without gaps.
void observe_rows(Context& ctx, const Site& site, const AttentionShape& shape, const HeadRows& rows,
                  std::int64_t tokens) {
  if (!ctx.tap) return;
  const Arena::Scope scope(ctx.arena);
  const std::int64_t cols = shape.kv_heads * shape.head_dim;
  float* copy = ctx.arena.take<float>(tokens * cols);
  for (std::int64_t t = 0; t < tokens; ++t) {
    for (std::int64_t h = 0; h < shape.kv_heads; ++h) {
      std::copy_n(rows.at(t, h), shape.head_dim, copy + t * cols + h * shape.head_dim);
    }
  }
  observe(ctx, site, f32_activation(copy, tokens, cols));
}

}  // namespace

void describe_cache(const AttentionShape& shape, const SiteWriter& to) {
  to.cache("k_cache", shape.kv_heads * shape.head_dim);
  to.cache("v_cache", shape.kv_heads * shape.head_dim);
}

CachedAttention load_attention(const TensorSource& tensors, const ModelLayout& layout,
                               const std::map<std::string, ActivationNumerics>& numerics,
                               const AttentionShape& shape, int layer, StateLayout& state) {
  CachedAttention a{.shape = shape,
                    .k_cache = load_site(tensors, layout, "k_cache", layer, numerics),
                    .v_cache = load_site(tensors, layout, "v_cache", layer, numerics),
                    .first_buffer = state.buffers.size()};
  const auto add = [&](const char* name, std::int64_t head, const Site& site) {
    const std::string rows = fmt::format("{}.{}", name, head);
    state.add_per_token(rows, layer, dtype_of(site), {shape.head_dim});
    if (site.is_int8()) state.add_per_token(rows + "_scale", layer, DType::f32, {1});
  };
  for (std::int64_t head = 0; head < shape.kv_heads; ++head) {
    add("k_cache", head, a.k_cache);
    add("v_cache", head, a.v_cache);
  }
  return a;
}

void run_attention(Context& ctx, const CachedAttention& a, const Batch& batch, const HeadInputs& in,
                   const Activation& y) {
  observe_rows(ctx, a.k_cache, a.shape, in.k, y.rows);
  observe_rows(ctx, a.v_cache, a.shape, in.v, y.rows);
  for_each_sequence(ctx, batch,
                    [&](Context& own, SequenceState& state, std::int64_t begin, std::int64_t end) {
                      std::vector<HeadCache> caches(static_cast<std::size_t>(a.shape.kv_heads));
                      for (std::size_t head = 0; head < caches.size(); ++head) {
                        caches[head] = cache_of(a, state, head);
                      }
                      attention(own,
                                {.shape = a.shape,
                                 .scale = 1.0f / std::sqrt(static_cast<float>(a.shape.head_dim)),
                                 .tokens = end - begin,
                                 .past = state.position(),
                                 .q = rows_from(in.q, begin),
                                 .k = rows_from(in.k, begin),
                                 .v = rows_from(in.v, begin),
                                 .cache = caches.data(),
                                 .k_dtype = dtype_of(a.k_cache),
                                 .v_dtype = dtype_of(a.v_cache)},
                                y.row_range(begin, end));
                    });
}

}  // namespace krait
