#include "kernels/ssd/ssd.h"

#include <algorithm>
#include <cassert>

#include "kernels/quantize/quantize.h"
#include "kernels/ssd/ssd_kernels.h"

namespace krait {
namespace {

static_assert(kSsdClusters == kSsdTable && kSsdChunk == kSsdQ);

// Updates of one S below which a parallel region costs more than it saves.
constexpr std::int64_t kSerialUpdates = 32768;

// Channels of a head whose states a thread takes through all chunks.
constexpr std::int64_t kColumns = 64;

using Microkernel = void (*)(const SsdRun&);

Microkernel microkernel(const SsdKernels& kernels, const SsdState& state) {
  assert(state.dtype == DType::f32 || state.dtype == DType::f16 || state.dtype == DType::i8);
  if (state.dtype == DType::f32) return kernels.run_f32;
  if (state.dtype == DType::f16) return kernels.run_f16;
  if (state.clusters.table) return kernels.run_i8_clusters;
  if (state.scale) return kernels.run_i8;
  return state.dithered ? kernels.run_i8_rows_dithered : kernels.run_i8_rows;
}

/// mix() of ssd.h for one position.
SsdKey noise_key(std::uint64_t seed, std::int64_t position) {
  std::uint64_t z = (seed << 40) + static_cast<std::uint64_t>(position) + 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  z ^= z >> 31;
  return {static_cast<std::uint32_t>(z), static_cast<std::uint32_t>(z >> 32)};
}

/// The keys of all tokens and, before the first, of the one before, if they are needed.
const SsdKey* noise_keys(Context& ctx, const SsdState& state, std::int64_t tokens) {
  if (!state.dithered) return nullptr;
  auto* keys = ctx.arena.take<SsdKey>(tokens + 1) + 1;
  for (std::int64_t t = -1; t < tokens; ++t) keys[t] = noise_key(state.seed, state.position + t);
  return keys;
}

/// All of an input in f32, in the arena unless it is f32 already.
Activation widened(Context& ctx, const Activation& x) {
  if (x.dtype == DType::f32) return x;
  const Activation wide = f32_activation(ctx.arena.take<float>(x.rows * x.cols), x.rows, x.cols);
  dequantize(ctx, x, wide);
  return wide;
}

/// delta and decay of all tokens and heads, [T, H].
struct Steps {
  float *delta, *decay;
};

Steps take_steps(Context& ctx, const SsdParams& params, const Activation& dt) {
  const std::int64_t tokens = dt.rows, heads = params.heads;
  const Steps result{ctx.arena.take<float>(tokens * heads), ctx.arena.take<float>(tokens * heads)};
  ctx.threads.parallel_for(tokens, 16, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t t = begin; t < end; ++t) {
      ctx.kernels.ssd->steps({.heads = heads,
                              .dt = dt.f32(t),
                              .dt_bias = params.dt_bias,
                              .a2 = params.a2,
                              .dt_min = params.dt_min,
                              .dt_max = params.dt_max,
                              .delta = result.delta + t * heads,
                              .decay = result.decay + t * heads});
    }
  });
  return result;
}

/// A stretch of tokens, inputs in f32.
struct Stretch {
  Activation x, B, C, y;
  Steps steps;

  std::int64_t tokens() const { return x.rows; }
  Stretch from(std::int64_t begin, std::int64_t end) const {
    const std::int64_t step = begin * heads;
    return {x.row_range(begin, end),
            B.row_range(begin, end),
            C.row_range(begin, end),
            y.row_range(begin, end),
            {steps.delta + step, steps.decay + step},
            heads};
  }
  std::int64_t heads;
};

/// to [cols, rows] = the first `cols` columns of from's rows, which are `stride` apart.
void transpose(const float* from, std::int64_t stride, std::int64_t rows, std::int64_t cols,
               float* to) {
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t c = 0; c < cols; ++c) to[c * rows + r] = from[r * stride + c];
  }
}

// ---- chunks -------------------------------------------------------------------------------------

/// What the heads of a group share in every chunk: C [Q, N], B [N, Q] and C B^T [Q, Q], each
/// [chunks, G] times.
struct Pieces {
  float *C, *B, *scores;
};

Pieces take_pieces(Context& ctx, std::int64_t groups, std::int64_t states, const Stretch& in) {
  constexpr std::int64_t Q = kSsdChunk;
  const std::int64_t pieces = in.tokens() / Q * groups;
  const Pieces result{ctx.arena.take<float>(pieces * Q * states),
                      ctx.arena.take<float>(pieces * Q * states),
                      ctx.arena.take<float>(pieces * Q * Q)};
  ctx.threads.parallel_for(pieces, 1, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t t = i / groups * Q, column = i % groups * states;
      const SsdScores scores{.states = states,
                             .C = result.C + i * Q * states,
                             .B = result.B + i * Q * states,
                             .scores = result.scores + i * Q * Q};
      for (std::int64_t r = 0; r < Q; ++r) {
        std::copy_n(in.C.f32(t + r) + column, states, result.C + (i * Q + r) * states);
      }
      transpose(in.B.f32(t) + column, in.B.stride, Q, states, result.B + i * Q * states);
      ctx.kernels.ssd->scores(scores);
    }
  });
  return result;
}

/// Whole chunks.
void run_chunks(Context& ctx, const SsdParams& params, const Stretch& in, float* state) {
  constexpr std::int64_t Q = kSsdChunk;
  const std::int64_t H = params.heads, P = params.head_dim, G = params.groups, N = params.states;
  const Arena::Scope scope(ctx.arena);
  const Pieces pieces = take_pieces(ctx, G, N, in);
  const std::int64_t columns = std::min<std::int64_t>(P, kColumns),
                     blocks = (P + columns - 1) / columns;
  const std::int64_t scratch = Q * (Q + 2 * columns);
  float* const scratches = ctx.arena.take<float>(scratch * ctx.threads.threads());
  ctx.threads.parallel_for(H * blocks, 1, [&](std::int64_t begin, std::int64_t end, int thread) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t head = i / blocks, p = i % blocks * columns, channel = head * P + p;
      for (std::int64_t t = 0; t < in.tokens(); t += Q) {
        const std::int64_t piece = t / Q * G + head / (H / G);
        ctx.kernels.ssd->chunk({.channels = std::min(columns, P - p),
                                .head_dim = P,
                                .states = N,
                                .delta = in.steps.delta + t * H + head,
                                .decay = in.steps.decay + t * H + head,
                                .step_stride = H,
                                .x = in.x.f32(t) + channel,
                                .x_stride = in.x.stride,
                                .more = t + Q < in.tokens(),
                                .B = pieces.B + piece * Q * N,
                                .C = pieces.C + piece * Q * N,
                                .scores = pieces.scores + piece * Q * Q,
                                .D = params.D + channel,
                                .state = state + head * N * P + p,
                                .scratch = scratches + thread * scratch,
                                .y = const_cast<Activation&>(in.y).f32(t) + channel,
                                .y_stride = in.y.stride});
      }
    }
  });
}

// ---- token by token -----------------------------------------------------------------------------

/// B and C with the tokens of a whole block side by side, [T / kSsdBlock, G N, kSsdBlock].
struct Blocks {
  float *B, *C;
};

Blocks take_blocks(Context& ctx, const Activation& B, const Activation& C) {
  const std::int64_t blocks = B.rows / kSsdBlock, size = kSsdBlock * B.cols;
  const Blocks result{ctx.arena.take<float>(blocks * size), ctx.arena.take<float>(blocks * size)};
  ctx.threads.parallel_for(blocks, 2, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t i = begin; i < end; ++i) {
      transpose(B.f32(i * kSsdBlock), B.stride, kSsdBlock, B.cols, result.B + i * size);
      transpose(C.f32(i * kSsdBlock), C.stride, kSsdBlock, C.cols, result.C + i * size);
    }
  });
  return result;
}

void run_tokens(Context& ctx, const SsdParams& params, const Stretch& in, const SsdState& state) {
  const std::int64_t H = params.heads, P = params.head_dim, G = params.groups, N = params.states;
  const std::int64_t tokens = in.tokens();
  const Arena::Scope scope(ctx.arena);
  const Blocks blocks = take_blocks(ctx, in.B, in.C);
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
               .x_stride = in.x.stride,
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
               .y_stride = in.y.stride};
    for (std::int64_t t = 0; t < tokens; t += job.tokens) {
      const bool whole = t + kSsdBlock <= tokens;
      job.tokens = whole ? kSsdBlock : 1;
      if (keys) job.keys = keys + t;
      job.delta = in.steps.delta + t * H + head;
      job.decay = in.steps.decay + t * H + head;
      job.x = in.x.f32(t) + head * P;
      job.B = whole ? blocks.B + t * G * N + group * N * kSsdBlock : in.B.f32(t) + group * N;
      job.C = whole ? blocks.C + t * G * N + group * N * kSsdBlock : in.C.f32(t) + group * N;
      job.y = const_cast<Activation&>(in.y).f32(t) + head * P;
      run(job);
    }
  };
  const std::int64_t grain = tokens * H * N * P < kSerialUpdates ? H : 1;
  ctx.threads.parallel_for(H, grain, [&](std::int64_t begin, std::int64_t end, int thread) {
    for (std::int64_t head = begin; head < end; ++head) run_head(head, thread);
  });
}

}  // namespace

float ssd_noise(const SsdState& state, std::int64_t i) {
  const SsdKey key = noise_key(state.seed, state.position - 1);
  std::uint32_t x = static_cast<std::uint32_t>(i) * 0x9e3779b9u + key.low;
  x ^= x >> 16;
  x *= 0x7feb352du;
  x ^= x >> 15;
  x = (x + key.high) * 0x846ca68bu;
  return static_cast<float>(2 * (static_cast<std::int32_t>(x) >> 8) + 1) * 0x1p-25f;
}

void ssd(Context& ctx, const SsdParams& params, const SsdInputs& in, SsdState state,
         const Activation& y) {
  const std::int64_t H = params.heads, tokens = in.x.rows;
  [[maybe_unused]] const std::int64_t P = params.head_dim, GN = params.groups * params.states;
  assert(H % params.groups == 0 && in.x.cols == H * P && in.dt.rows == tokens && in.dt.cols == H);
  assert(in.B.rows == tokens && in.B.cols == GN && in.C.rows == tokens && in.C.cols == GN);
  assert(y.dtype == DType::f32 && y.rows == tokens && y.cols == H * P);
  assert(state.data &&
         (state.dtype != DType::i8 || state.scale || state.clusters.table || state.row_scale));
  const Arena::Scope scope(ctx.arena);
  const Activation dt = widened(ctx, in.dt);
  const Stretch all{widened(ctx, in.x),          widened(ctx, in.B),
                    widened(ctx, in.C),          y,
                    take_steps(ctx, params, dt), H};
  // [first, last) are the whole chunks.
  std::int64_t first = 0, last = 0;
  if (state.dtype == DType::f32) {
    first = std::min((kSsdChunk - state.position % kSsdChunk) % kSsdChunk, tokens);
    last = first + (tokens - first) / kSsdChunk * kSsdChunk;
  }
  if (first > 0) run_tokens(ctx, params, all.from(0, first), state);
  if (last > first) run_chunks(ctx, params, all.from(first, last), static_cast<float*>(state.data));
  if (tokens > last) run_tokens(ctx, params, all.from(last, tokens), state);
}

}  // namespace krait
