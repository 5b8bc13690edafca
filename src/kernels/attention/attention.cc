#include "kernels/attention/attention.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstring>

#include "kernels/attention/attention_kernels.h"
#include "kernels/linear/linear_kernels.h"
#include "kernels/quantize/quantize.h"

namespace krait {
namespace {

// A task takes the queries of one head of keys, so many rows at a time that a block of keys that is
// in the first caches serves all of them.
constexpr std::int64_t kRows = 16;
constexpr std::int64_t kKeys = 128;
// Products below which a parallel region costs more than it saves.
constexpr std::int64_t kSerialProducts = 65536;

/// One row into the cache in its numerics.
void append_row(const Context& ctx, const float* x, DType dtype, void* rows, float* scales,
                std::int64_t position, std::int64_t cols) {
  if (dtype == DType::f16) {
    ctx.kernels.attention->narrow_f16(x, static_cast<std::uint16_t*>(rows) + position * cols, cols);
    return;
  }
  const Activation row{.data = dtype == DType::f32
                                   ? static_cast<void*>(static_cast<float*>(rows) + position * cols)
                                   : static_cast<std::int8_t*>(rows) + position * cols,
                       .dtype = dtype,
                       .rows = 1,
                       .cols = cols,
                       .stride = cols,
                       .strategy = Strategy::token,
                       .dynamic = true,
                       .scale = scales ? scales + position : nullptr};
  store_row(*ctx.kernels.quantize, x, row, 0);
}

/// Rows [begin, end) of the cache in f32: as they lie, or widened into `scratch`.
const float* widened(const Context& ctx, DType dtype, const void* rows, const float* scales,
                     std::int64_t begin, std::int64_t end, std::int64_t cols, float* scratch) {
  if (dtype == DType::f32) return static_cast<const float*>(rows) + begin * cols;
  if (dtype == DType::f16) {
    ctx.kernels.attention->widen_f16(static_cast<const std::uint16_t*>(rows) + begin * cols,
                                     scratch, (end - begin) * cols);
    return scratch;
  }
  for (std::int64_t j = begin; j < end; ++j) {
    ctx.kernels.quantize->dequantize(static_cast<const std::int8_t*>(rows) + j * cols, scales[j],
                                     scratch + (j - begin) * cols, cols);
  }
  return scratch;
}

/// Queries [begin, end) of all heads that share the keys of head `kv`.
struct Task {
  std::int64_t kv, begin, end;
};

/// Floats of scratch memory for tasks of `rows` rows over `keys` keys.
std::int64_t scratch_floats(std::int64_t rows, std::int64_t keys, std::int64_t head_dim) {
  return rows * (2 * head_dim + keys + 1) + kKeys * head_dim;
}

void run_task(const Context& ctx, const AttentionRun& run, const Task& task, float* scratch,
              const Activation& y) {
  const AttentionKernels& kernels = *ctx.kernels.attention;
  const std::int64_t dim = run.shape.head_dim, group = run.shape.heads / run.shape.kv_heads;
  const std::int64_t rows = (task.end - task.begin) * group, keys = run.past + task.end;
  const HeadCache& cache = run.cache[task.kv];
  float* q = scratch;                 // [rows, dim]: row r is query r / group, head r % group
  float* scores = q + rows * dim;     // [rows, keys]
  float* o = scores + rows * keys;    // [rows, dim]
  float* block = o + rows * dim;      // [kKeys, dim]
  float* sums = block + kKeys * dim;  // [rows]
  const auto head_of = [&](std::int64_t r) { return task.kv * group + r % group; };
  const auto query_of = [&](std::int64_t r) { return task.begin + r / group; };
  for (std::int64_t r = 0; r < rows; ++r)
    std::copy_n(run.q.at(query_of(r), head_of(r)), dim, q + r * dim);

  for (std::int64_t j = 0; j < keys; j += kKeys) {
    const std::int64_t end = std::min(j + kKeys, keys);
    ctx.kernels.linear->f32(
        {.w = widened(ctx, run.k_dtype, cache.k, cache.k_scale, j, end, dim, block),
         .rows = end - j,
         .cols = dim,
         .x = q,
         .x_stride = dim,
         .tokens = rows,
         .bias = nullptr,
         .y = scores + j,
         .y_stride = keys});
  }
  const auto keys_of = [&](std::int64_t r) { return run.past + query_of(r) + 1; };
  for (std::int64_t r = 0; r < rows; ++r) {
    sums[r] = kernels.exponentials(scores + r * keys, keys_of(r), run.scale);
  }
  std::fill_n(o, rows * dim, 0.0f);
  for (std::int64_t j = 0; j < keys; j += kKeys) {
    const std::int64_t end = std::min(j + kKeys, keys);
    const float* v = widened(ctx, run.v_dtype, cache.v, cache.v_scale, j, end, dim, block);
    // Keys that every row sees, and then what each row sees beyond them.
    const std::int64_t common = std::clamp(keys_of(0), j, end);
    kernels.add_weighted(scores + j, keys, rows, v, common - j, dim, o);
    for (std::int64_t r = 0; r < rows; ++r) {
      const std::int64_t last = std::min(keys_of(r), end);
      if (last <= common) continue;
      kernels.add_weighted(scores + r * keys + common, keys, 1, v + (common - j) * dim,
                           last - common, dim, o + r * dim);
    }
  }
  Activation out = y;
  for (std::int64_t r = 0; r < rows; ++r) {
    kernels.divide(o + r * dim, sums[r], out.f32(query_of(r)) + head_of(r) * dim, dim);
  }
}

}  // namespace

void attention(Context& ctx, const AttentionRun& run, const Activation& y) {
  const AttentionShape& s = run.shape;
  assert(s.heads % s.kv_heads == 0 && y.dtype == DType::f32);
  assert(y.rows == run.tokens && y.cols == s.heads * s.head_dim);
  if (run.tokens == 0) return;
  const std::int64_t kv_cols = s.kv_heads * s.head_dim;
  ctx.threads.parallel_for(
      run.tokens * s.kv_heads, std::max<std::int64_t>(1, kSerialProducts / (4 * kv_cols)),
      [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t i = begin; i < end; ++i) {
          const std::int64_t t = i / s.kv_heads, h = i % s.kv_heads, position = run.past + t;
          const HeadCache& cache = run.cache[h];
          append_row(ctx, run.k.at(t, h), run.k_dtype, cache.k, cache.k_scale, position,
                     s.head_dim);
          append_row(ctx, run.v.at(t, h), run.v_dtype, cache.v, cache.v_scale, position,
                     s.head_dim);
        }
      });

  const std::int64_t group = s.heads / s.kv_heads;
  const std::int64_t queries = std::min(run.tokens, std::max<std::int64_t>(1, kRows / group));
  const std::int64_t blocks = (run.tokens + queries - 1) / queries, tasks = blocks * s.kv_heads;
  const std::int64_t keys = run.past + run.tokens;
  const Arena::Scope scope(ctx.arena);
  const std::int64_t per_thread = scratch_floats(queries * group, keys, s.head_dim);
  float* scratch = ctx.arena.take<float>(ctx.threads.threads() * per_thread);
  const bool is_small = run.tokens * s.heads * keys * s.head_dim < kSerialProducts;
  ctx.threads.parallel_for(
      tasks, is_small ? tasks : 1, [&](std::int64_t begin, std::int64_t end, int thread) {
        for (std::int64_t i = begin; i < end; ++i) {
          const std::int64_t first = i % blocks * queries;
          const Task task{i / blocks, first, std::min(first + queries, run.tokens)};
          run_task(ctx, run, task, scratch + thread * per_thread, y);
        }
      });
}

void rotary_angles(const float* inverse_frequency, std::int64_t half, std::int64_t first,
                   std::int64_t tokens, float* cos, float* sin) {
  for (std::int64_t t = 0; t < tokens; ++t) {
    for (std::int64_t i = 0; i < half; ++i) {
      const float angle = static_cast<float>(first + t) * inverse_frequency[i];
      cos[t * half + i] = static_cast<float>(std::cos(static_cast<double>(angle)));
      sin[t * half + i] = static_cast<float>(std::sin(static_cast<double>(angle)));
    }
  }
}

void rotary(Context& ctx, const float* cos, const float* sin, std::int64_t half, const HeadRows& x,
            std::int64_t tokens, std::int64_t heads) {
  if (half == 0) return;
  const std::int64_t grain = std::max<std::int64_t>(1, kSerialProducts / (16 * heads * half));
  ctx.threads.parallel_for(tokens, grain, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t t = begin; t < end; ++t) {
      for (std::int64_t h = 0; h < heads; ++h) {
        ctx.kernels.attention->rotate(x.at(t, h), cos + t * half, sin + t * half, half);
      }
    }
  });
}

}  // namespace krait
