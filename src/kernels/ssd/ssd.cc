#include "kernels/ssd/ssd.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "core/float16.h"
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
  return state.clusters.table ? kernels.run_i8_clusters : kernels.run_i8;
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
      const SsdScores scores{.tokens = Q,
                             .states = states,
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

/// Channels of a head that a thread has at a time.
std::int64_t columns_of(std::int64_t head_dim) { return std::min(head_dim, kColumns); }

/// Rows of a dynamic int8 state: `channels` of them, from channel p of a head on.
SsdRows rows_of(const SsdParams& params, const SsdState& state, std::int64_t head, std::int64_t p,
                std::int64_t channels, float* wide) {
  const std::int64_t P = params.head_dim, N = params.states;
  return {.channels = channels,
          .states = N,
          .state = static_cast<std::int8_t*>(state.data) + head * N * P + p,
          .state_stride = P,
          .scale = state.row_scale + head * P + p,
          .wide = wide};
}

/// Whole chunks. An int8 state is f32 in the scratch while they last.
void run_chunks(Context& ctx, const SsdParams& params, const Stretch& in, const SsdState& state) {
  constexpr std::int64_t Q = kSsdChunk;
  const std::int64_t H = params.heads, P = params.head_dim, G = params.groups, N = params.states;
  const Arena::Scope scope(ctx.arena);
  const Pieces pieces = take_pieces(ctx, G, N, in);
  const std::int64_t columns = columns_of(P), blocks = (P + columns - 1) / columns;
  const bool by_row = state.dtype == DType::i8;
  const std::int64_t factors = Q * (Q + 2 * columns),
                     scratch = factors + (by_row ? N * columns : 0);
  float* const scratches = ctx.arena.take<float>(scratch * ctx.threads.threads());
  ctx.threads.parallel_for(H * blocks, 1, [&](std::int64_t begin, std::int64_t end, int thread) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t head = i / blocks, p = i % blocks * columns, channel = head * P + p;
      const std::int64_t channels = std::min(columns, P - p);
      float* const own = scratches + thread * scratch;
      SsdRows rows{};
      if (by_row) {
        rows = rows_of(params, state, head, p, channels, own + factors);
        ctx.kernels.ssd->widen_rows(rows);
      }
      for (std::int64_t t = 0; t < in.tokens(); t += Q) {
        const std::int64_t piece = t / Q * G + head / (H / G);
        ctx.kernels.ssd->chunk(
            {.channels = channels,
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
             .state = by_row ? rows.wide : static_cast<float*>(state.data) + head * N * P + p,
             .state_stride = by_row ? channels : P,
             .scratch = own,
             .y = const_cast<Activation&>(in.y).f32(t) + channel,
             .y_stride = in.y.stride});
        if (by_row) ctx.kernels.ssd->round_rows(rows);
      }
    }
  });
}

// ---- chunks of a dynamic int8 state that a call has in part -------------------------------------

/// Lets what is recent of one head, `before` tokens, decay by `a` and adds a token.
void decay_recent(float a, std::int64_t before, float* decay) {
  decay[0] = before == 0 ? a : decay[0] * a;
  for (std::int64_t s = 0; s < before; ++s) decay[s + 1] *= a;
  if (before + 1 < kSsdChunk) decay[before + 1] = 1.0f;
}

/// The end of a chunk for one head: its rows are advanced and nothing is recent. `dx` [P] is the
/// last token's; scratch: [columns * (N + Q)].
void finish_head(Context& ctx, const SsdParams& params, const SsdState& state, std::int64_t head,
                 const float* dx, float* scratch) {
  constexpr std::int64_t Q = kSsdChunk;
  const std::int64_t P = params.head_dim, N = params.states;
  const std::int64_t columns = columns_of(P), group = head / (params.heads / params.groups);
  float* const decay = state.recent.decay + head * Q;
  float* const recent = state.recent.dx + head * (Q - 1) * P;
  for (std::int64_t p = 0; p < P; p += columns) {
    const std::int64_t channels = std::min(columns, P - p);
    const SsdRows rows = rows_of(params, state, head, p, channels, scratch);
    float* const left = scratch + N * columns;
    for (std::int64_t s = 0; s + 1 < Q; ++s) {
      for (std::int64_t c = 0; c < channels; ++c) {
        left[s * channels + c] = decay[s + 1] * recent[s * P + p + c];
      }
    }
    std::copy_n(dx + p, channels, left + (Q - 1) * channels);
    ctx.kernels.ssd->widen_rows(rows);
    ctx.kernels.ssd->advance({.channels = channels,
                              .states = N,
                              .decay = decay[0],
                              .B = state.recent.B + group * N * Q,
                              .left = left,
                              .state = rows.wide,
                              .state_stride = channels});
    ctx.kernels.ssd->round_rows(rows);
  }
  std::fill_n(recent, (Q - 1) * P, 0.0f);
  std::fill_n(decay, Q, 0.0f);
}

/// Tokens of one chunk that follow `before` others of it.
void run_recent(Context& ctx, const SsdParams& params, const Stretch& in, const SsdState& state,
                std::int64_t before) {
  constexpr std::int64_t Q = kSsdChunk;
  const std::int64_t H = params.heads, P = params.head_dim, G = params.groups, N = params.states;
  const std::int64_t tokens = in.tokens();
  const SsdRecent& recent = state.recent;
  const Arena::Scope scope(ctx.arena);
  float* const scores = ctx.arena.take<float>(tokens * G * Q);
  const std::int64_t group_grain = tokens * G * N * Q < kSerialUpdates ? G : 1;
  ctx.threads.parallel_for(G, group_grain, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t group = begin; group < end; ++group) {
      float* const B = recent.B + group * N * Q;
      for (std::int64_t t = 0; t < tokens; ++t) {
        const float* const own = in.B.f32(t) + group * N;
        for (std::int64_t n = 0; n < N; ++n) B[n * Q + before + t] = own[n];
        ctx.kernels.ssd->scores({.tokens = 1,
                                 .states = N,
                                 .C = in.C.f32(t) + group * N,
                                 .B = B,
                                 .scores = scores + (t * G + group) * Q});
      }
    }
  });

  const bool ends = before + tokens == Q;
  const std::int64_t scratch = P + columns_of(P) * (N + Q);
  float* const scratches = ctx.arena.take<float>(scratch * ctx.threads.threads());
  const std::int64_t grain = tokens * H * N * P < kSerialUpdates ? H : 1;
  ctx.threads.parallel_for(H, grain, [&](std::int64_t begin, std::int64_t end, int thread) {
    float* const last_dx = scratches + thread * scratch;
    for (std::int64_t head = begin; head < end; ++head) {
      float* const decay = recent.decay + head * Q;
      float* const dx = recent.dx + head * (Q - 1) * P;
      for (std::int64_t t = 0; t < tokens; ++t) {
        const std::int64_t i = before + t;
        const float* const G_row = scores + (t * G + head / (H / G)) * Q;
        float mixing[Q];
        decay_recent(in.steps.decay[t * H + head], i, decay);
        for (std::int64_t s = 0; s < i; ++s) mixing[s] = decay[s + 1] * G_row[s];
        mixing[i] = G_row[i];
        ctx.kernels.ssd->token({.head_dim = P,
                                .states = N,
                                .before = i,
                                .state = static_cast<std::int8_t*>(state.data) + head * N * P,
                                .row_scale = state.row_scale + head * P,
                                .C = in.C.f32(t) + head / (H / G) * N,
                                .decay = decay[0],
                                .mixing = mixing,
                                .dx_before = dx,
                                .delta = in.steps.delta[t * H + head],
                                .x = in.x.f32(t) + head * P,
                                .D = params.D + head * P,
                                .dx = i + 1 < Q ? dx + i * P : last_dx,
                                .y = const_cast<Activation&>(in.y).f32(t) + head * P});
      }
      if (ends) finish_head(ctx, params, state, head, last_dx, last_dx + P);
    }
  });
  if (ends) std::fill_n(recent.B, G * N * Q, 0.0f);
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
  float* inverse = ctx.arena.take<float>(H * P);
  for (std::int64_t c = 0; by_channel && c < H * P; ++c) inverse[c] = 1.0f / state.scale[c];
  const Microkernel run = microkernel(*ctx.kernels.ssd, state);
  const auto head_bytes = N * P * static_cast<std::int64_t>(size_of(state.dtype));

  const auto run_head = [&](std::int64_t head) {
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
               .y = nullptr,
               .y_stride = in.y.stride};
    for (std::int64_t t = 0; t < tokens; t += job.tokens) {
      const bool whole = t + kSsdBlock <= tokens;
      job.tokens = whole ? kSsdBlock : 1;
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
  ctx.threads.parallel_for(H, grain, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t head = begin; head < end; ++head) run_head(head);
  });
}

/// The scale of state n of channel p of a head.
float int8_scale(const SsdParams& params, const SsdState& state, std::int64_t head, std::int64_t n,
                 std::int64_t p) {
  const std::int64_t channel = head * params.head_dim + p;
  if (state.row_scale) return state.row_scale[channel];
  if (state.scale) return state.scale[channel];
  const SsdClusterScales& by = state.clusters;
  return by.scale[(by.table[head] * params.states + n) * kSsdClusters + by.slot[channel]];
}

}  // namespace

void ssd_state_values(const SsdParams& params, const SsdState& state, float* values) {
  const std::int64_t P = params.head_dim, N = params.states, per_head = N * P;
  const std::int64_t recent = state.row_scale ? state.position % kSsdChunk : 0;
  for (std::int64_t i = 0; i < params.heads * per_head; ++i) {
    const std::int64_t head = i / per_head, n = i / P % N, p = i % P;
    if (state.dtype == DType::f32) values[i] = static_cast<const float*>(state.data)[i];
    if (state.dtype == DType::f16) {
      values[i] = f16_to_f32(static_cast<const std::uint16_t*>(state.data)[i]);
    }
    if (state.dtype != DType::i8) continue;
    values[i] = static_cast<float>(static_cast<const std::int8_t*>(state.data)[i]) *
                int8_scale(params, state, head, n, p);
    if (recent == 0) continue;
    const float* const decay = state.recent.decay + head * kSsdChunk;
    const float* const dx = state.recent.dx + head * (kSsdChunk - 1) * P + p;
    const std::int64_t group = head / (params.heads / params.groups);
    const float* const B = state.recent.B + (group * N + n) * kSsdChunk;
    values[i] *= decay[0];
    for (std::int64_t s = 0; s < recent; ++s) {
      values[i] = std::fma(B[s], decay[s + 1] * dx[s * P], values[i]);
    }
  }
}

void ssd(Context& ctx, const SsdParams& params, const SsdInputs& in, SsdState state,
         const Activation& y) {
  const std::int64_t H = params.heads, tokens = in.x.rows;
  [[maybe_unused]] const std::int64_t P = params.head_dim, GN = params.groups * params.states;
  assert(H % params.groups == 0 && in.x.cols == H * P && in.dt.rows == tokens && in.dt.cols == H);
  assert(in.B.rows == tokens && in.B.cols == GN && in.C.rows == tokens && in.C.cols == GN);
  assert(y.dtype == DType::f32 && y.rows == tokens && y.cols == H * P);
  const bool by_row = state.row_scale != nullptr;
  assert(state.data && (state.dtype != DType::i8 || state.scale || state.clusters.table || by_row));
  assert(!by_row ||
         (state.dtype == DType::i8 && state.recent.dx && state.recent.B && state.recent.decay));
  const Arena::Scope scope(ctx.arena);
  const Activation dt = widened(ctx, in.dt);
  const Stretch all{widened(ctx, in.x),          widened(ctx, in.B),
                    widened(ctx, in.C),          y,
                    take_steps(ctx, params, dt), H};
  if (state.dtype != DType::f32 && !by_row) return run_tokens(ctx, params, all, state);
  // [first, last) are the whole chunks.
  const std::int64_t before = state.position % kSsdChunk;
  const std::int64_t first = std::min((kSsdChunk - before) % kSsdChunk, tokens),
                     last = first + (tokens - first) / kSsdChunk * kSsdChunk;
  const auto run_part = [&](const Stretch& part, std::int64_t begins) {
    if (part.tokens() == 0) return;
    by_row ? run_recent(ctx, params, part, state, begins) : run_tokens(ctx, params, part, state);
  };
  run_part(all.from(0, first), before);
  if (last > first) run_chunks(ctx, params, all.from(first, last), state);
  run_part(all.from(last, tokens), 0);
}

}  // namespace krait
