#include "kernels/ssd/ssd.h"

#include <cassert>

#include "kernels/quantize/quantize.h"
#include "kernels/ssd/ssd_kernels.h"

namespace krait {
namespace {

static_assert(kSsdClusters == kSsdTable);

// Updates of one S below which a parallel region costs more than it saves.
constexpr std::int64_t kSerialUpdates = 32768;

using Microkernel = void (*)(const SsdRun&);

Microkernel microkernel(const SsdKernels& kernels, const SsdState& state) {
  assert(state.dtype == DType::f32 || state.dtype == DType::f16 || state.dtype == DType::i8);
  if (state.dtype == DType::f32) return kernels.run_f32;
  if (state.dtype == DType::f16) return kernels.run_f16;
  if (state.clusters.table) return kernels.run_i8_clusters;
  if (state.scale) return kernels.run_i8;
  return state.stochastic ? kernels.run_i8_rows_stochastic : kernels.run_i8_rows;
}

/// mix() of ssd.h for one position.
SsdKey noise_key(std::uint64_t seed, std::int64_t position) {
  std::uint64_t z = (seed << 40) + static_cast<std::uint64_t>(position) + 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  z ^= z >> 31;
  return {static_cast<std::uint32_t>(z), static_cast<std::uint32_t>(z >> 32)};
}

/// The keys of all tokens, if they are needed.
const SsdKey* noise_keys(Context& ctx, const SsdState& state, std::int64_t tokens) {
  if (!state.stochastic) return nullptr;
  auto* keys = ctx.arena.take<SsdKey>(tokens);
  for (std::int64_t t = 0; t < tokens; ++t) keys[t] = noise_key(state.seed, state.position + t);
  return keys;
}

/// All of an input in f32, in the arena unless it is f32 already.
Activation widened(Context& ctx, const Activation& x) {
  if (x.dtype == DType::f32) return x;
  const Activation wide = f32_activation(ctx.arena.take<float>(x.rows * x.cols), x.rows, x.cols);
  dequantize(ctx, x, wide);
  return wide;
}

/// What the heads share: delta and decay [T, H], and B and C with the tokens of a whole block side
/// by side, [T / kSsdBlock, G N, kSsdBlock].
struct Shared {
  float *delta, *decay, *B, *C;
};

void transpose_block(const Activation& from, std::int64_t block, float* to) {
  for (int t = 0; t < kSsdBlock; ++t) {
    const float* row = from.f32(block * kSsdBlock + t);
    float* out = to + block * kSsdBlock * from.cols + t;
    for (std::int64_t c = 0; c < from.cols; ++c) out[c * kSsdBlock] = row[c];
  }
}

Shared prepare(Context& ctx, const SsdParams& params, const Activation& dt, const Activation& B,
               const Activation& C) {
  const std::int64_t tokens = dt.rows, heads = params.heads, blocks = tokens / kSsdBlock;
  const std::int64_t blocked = blocks * kSsdBlock * B.cols;
  const Shared shared{ctx.arena.take<float>(tokens * heads), ctx.arena.take<float>(tokens * heads),
                      ctx.arena.take<float>(blocked), ctx.arena.take<float>(blocked)};
  const auto steps = [&](std::int64_t t) {
    ctx.kernels.ssd->steps({.heads = heads,
                            .dt = dt.f32(t),
                            .dt_bias = params.dt_bias,
                            .a2 = params.a2,
                            .dt_min = params.dt_min,
                            .dt_max = params.dt_max,
                            .delta = shared.delta + t * heads,
                            .decay = shared.decay + t * heads});
  };
  ctx.threads.parallel_for(blocks, 2, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t block = begin; block < end; ++block) {
      transpose_block(B, block, shared.B);
      transpose_block(C, block, shared.C);
      for (int t = 0; t < kSsdBlock; ++t) steps(block * kSsdBlock + t);
    }
  });
  for (std::int64_t t = blocks * kSsdBlock; t < tokens; ++t) steps(t);
  return shared;
}

}  // namespace

void ssd(Context& ctx, const SsdParams& params, const SsdInputs& in, SsdState state,
         const Activation& y) {
  const std::int64_t H = params.heads, P = params.head_dim, G = params.groups, N = params.states;
  const std::int64_t tokens = in.x.rows;
  assert(H % G == 0 && in.x.cols == H * P && in.dt.rows == tokens && in.dt.cols == H);
  assert(in.B.rows == tokens && in.B.cols == G * N && in.C.rows == tokens && in.C.cols == G * N);
  assert(y.dtype == DType::f32 && y.rows == tokens && y.cols == H * P);
  assert(state.data &&
         (state.dtype != DType::i8 || state.scale || state.clusters.table || state.row_scale));
  const Arena::Scope scope(ctx.arena);
  const Activation x = widened(ctx, in.x), dt = widened(ctx, in.dt);
  const Activation B = widened(ctx, in.B), C = widened(ctx, in.C);
  const Shared shared = prepare(ctx, params, dt, B, C);
  const bool by_channel = state.dtype == DType::i8 && state.scale;
  const bool by_cluster = state.dtype == DType::i8 && state.clusters.table;
  const bool by_row = state.dtype == DType::i8 && !by_channel && !by_cluster;
  float* inverse = ctx.arena.take<float>(H * P);
  for (std::int64_t c = 0; by_channel && c < H * P; ++c) inverse[c] = 1.0f / state.scale[c];
  const std::int64_t scratch = by_row ? N * 16 : 0;
  float* const scratches = ctx.arena.take<float>(scratch * ctx.threads.threads());
  const SsdKey* const keys = by_row ? noise_keys(ctx, state, tokens) : nullptr;
  const Microkernel run = microkernel(*ctx.kernels.ssd, state);
  const auto head_bytes = N * P * static_cast<std::int64_t>(size_of(state.dtype));

  const auto run_head = [&](std::int64_t head, int thread) {
    const std::int64_t group = head / (H / G);
    const float *scale = by_channel ? state.scale + head * P : nullptr,
                *one_by = by_channel ? inverse + head * P : nullptr;
    if (by_cluster) {
      const std::int64_t table = state.clusters.table[head] * N * kSsdTable;
      scale = state.clusters.scale + table;
      one_by = state.clusters.inverse + table;
    }
    SsdRun job{.tokens = kSsdBlock,
               .head_dim = P,
               .states = N,
               .delta = nullptr,
               .decay = nullptr,
               .step_stride = H,
               .x = nullptr,
               .x_stride = x.stride,
               .B = nullptr,
               .C = nullptr,
               .D = params.D + head * P,
               .state = static_cast<char*>(state.data) + head * head_bytes,
               .scale = scale,
               .inverse = one_by,
               .slot = by_cluster ? state.clusters.slot + head * P : nullptr,
               .row_scale = by_row ? state.row_scale + head * P : nullptr,
               .scratch = scratches + thread * scratch,
               .keys = nullptr,
               .counter = static_cast<std::uint32_t>(head * N * P),
               .y = nullptr,
               .y_stride = y.stride};
    for (std::int64_t t = 0; t < tokens; t += job.tokens) {
      const bool whole = t + kSsdBlock <= tokens;
      job.tokens = whole ? kSsdBlock : 1;
      if (keys) job.keys = keys + t;
      job.delta = shared.delta + t * H + head;
      job.decay = shared.decay + t * H + head;
      job.x = x.f32(t) + head * P;
      job.B = whole ? shared.B + t * G * N + group * N * kSsdBlock : B.f32(t) + group * N;
      job.C = whole ? shared.C + t * G * N + group * N * kSsdBlock : C.f32(t) + group * N;
      job.y = const_cast<Activation&>(y).f32(t) + head * P;
      run(job);
    }
  };
  const std::int64_t grain = tokens * H * N * P < kSerialUpdates ? H : 1;
  ctx.threads.parallel_for(H, grain, [&](std::int64_t begin, std::int64_t end, int thread) {
    for (std::int64_t head = begin; head < end; ++head) run_head(head, thread);
  });
}

}  // namespace krait
