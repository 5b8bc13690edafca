#include "kernels/attention/attention.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/attention/attention_kernels.h"
#include "kernels/cpu_operations.h"
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

/// Queries of rows [begin, end) of a sequence, of all heads that share the keys of head `kv`.
struct Task {
  std::int64_t kv, begin, end;
  std::int64_t keys;  ///< that the first of them sees
  const HeadCache* caches;
};

/// Floats of scratch memory for tasks of `rows` rows over `keys` keys.
std::int64_t scratch_floats(std::int64_t rows, std::int64_t keys, std::int64_t head_dim) {
  return rows * (2 * head_dim + keys + 1) + kKeys * head_dim;
}

void run_task(const Context& ctx, const AttentionInputs& run, const Task& task, float* scratch,
              const Activation& y) {
  const AttentionKernels& kernels = *ctx.kernels.attention;
  const std::int64_t dim = run.shape.head_dim, group = run.shape.heads / run.shape.kv_heads;
  const std::int64_t queries = task.end - task.begin, rows = queries * group,
                     keys = task.keys + queries - 1;
  const HeadCache& cache = task.caches[task.kv];
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
  const auto keys_of = [&](std::int64_t r) { return task.keys + r / group; };
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

void cpu::attention(Context& ctx, const AttentionInputs& in,
                    std::span<const SequenceRun<const HeadCache*>> sequences, const Activation& y) {
  const AttentionShape& s = in.shape;
  assert(s.heads % s.kv_heads == 0 && y.dtype == DType::f32);
  assert(y.cols == s.heads * s.head_dim);
  const std::int64_t kv_cols = s.kv_heads * s.head_dim, group = s.heads / s.kv_heads;
  std::vector<std::size_t> owners;  // of the rows that belong to a sequence, in order
  std::vector<std::int64_t> rows;
  std::vector<Task> tasks;
  std::int64_t products = 0, scratch_of_each = 0;
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    const auto& [of, caches] = sequences[i];
    if (of.tokens() == 0) continue;
    for (std::int64_t t = of.begin; t < of.end; ++t) {
      owners.push_back(i);
      rows.push_back(t);
    }
    const std::int64_t queries = std::min(of.tokens(), std::max<std::int64_t>(1, kRows / group));
    const std::int64_t keys = of.position + of.tokens();
    for (std::int64_t kv = 0; kv < s.kv_heads; ++kv) {
      for (std::int64_t t = of.begin; t < of.end; t += queries) {
        tasks.push_back(
            {kv, t, std::min(t + queries, of.end), of.position + t - of.begin + 1, caches});
      }
    }
    products += of.tokens() * s.heads * keys * s.head_dim;
    scratch_of_each = std::max(scratch_of_each, scratch_floats(queries * group, keys, s.head_dim));
  }
  ctx.threads.parallel_for(std::ssize(rows) * s.kv_heads,
                           std::max<std::int64_t>(1, kSerialProducts / (4 * kv_cols)),
                           [&](std::int64_t begin, std::int64_t end, int) {
                             for (std::int64_t i = begin; i < end; ++i) {
                               const auto row = static_cast<std::size_t>(i / s.kv_heads);
                               const auto& [of, caches] = sequences[owners[row]];
                               const std::int64_t t = rows[row], h = i % s.kv_heads,
                                                  position = of.position + t - of.begin;
                               append_row(ctx, in.k.at(t, h), in.k_dtype, caches[h].k,
                                          caches[h].k_scale, position, s.head_dim);
                               append_row(ctx, in.v.at(t, h), in.v_dtype, caches[h].v,
                                          caches[h].v_scale, position, s.head_dim);
                             }
                           });

  const Arena::Scope scope(ctx.arena);
  float* scratch = ctx.arena.take<float>(ctx.threads.threads() * scratch_of_each);
  const std::int64_t grain = products < kSerialProducts ? std::ssize(tasks) : 1;
  ctx.threads.parallel_for(std::ssize(tasks), grain,
                           [&](std::int64_t begin, std::int64_t end, int thread) {
                             for (std::int64_t i = begin; i < end; ++i) {
                               run_task(ctx, in, tasks[static_cast<std::size_t>(i)],
                                        scratch + thread * scratch_of_each, y);
                             }
                           });
}

void cpu::rotary_angles(Context& ctx, std::span<const float> inverse_frequencies,
                        std::span<const SequenceRows> sequences, float* cos, float* sin) {
  const auto half = std::ssize(inverse_frequencies);
  constexpr std::int64_t kSerialAngles = 1024;
  for (const SequenceRows& rows : sequences) {
    ctx.threads.parallel_for(
        rows.tokens(), std::max<std::int64_t>(1, kSerialAngles / half),
        [&](std::int64_t begin, std::int64_t end, int) {
          for (std::int64_t t = begin; t < end; ++t) {
            const auto position = static_cast<float>(rows.position + t);
            for (std::int64_t i = 0; i < half; ++i) {
              const auto angle =
                  static_cast<double>(position * inverse_frequencies[static_cast<std::size_t>(i)]);
              cos[(rows.begin + t) * half + i] = static_cast<float>(std::cos(angle));
              sin[(rows.begin + t) * half + i] = static_cast<float>(std::sin(angle));
            }
          }
        });
  }
}

void cpu::rotary(Context& ctx, const float* cos, const float* sin, std::int64_t half,
                 const HeadRows& x, std::int64_t tokens, std::int64_t heads) {
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
