#include "kernels/ssd/ssd.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <vector>

#include "kernels/cpu_operations.h"
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
  assert(state.dtype == DType::f16 || state.dtype == DType::i8);
  if (state.dtype == DType::f16) return kernels.run_f16;
  return state.clusters.table ? kernels.run_i8_clusters : kernels.run_i8;
}

/// Whether the state stays as it is until its chunk ends.
bool has_chunks(const SsdState& state) { return state.recent.dx != nullptr; }

/// All of an input in f32, in the arena unless it is f32 already.
Activation widened(Context& ctx, const Activation& x) {
  if (x.dtype == DType::f32) return x;
  const Activation wide = f32_activation(ctx.arena.take<float>(x.rows * x.cols), x.rows, x.cols);
  cpu::dequantize(ctx, x, wide);
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

/// All rows of the batch, in f32.
struct Inputs {
  Activation x, B, C, y;
  Steps steps;
};

/// Rows [begin, end) of one sequence, in chunks `before` tokens after the beginning of one.
struct Part {
  std::int64_t begin, end, before;
  SsdState state;

  std::int64_t tokens() const { return end - begin; }
};
using Parts = std::span<const Part>;

std::int64_t tokens_of(Parts parts) {
  std::int64_t tokens = 0;
  for (const Part& part : parts) tokens += part.tokens();
  return tokens;
}

/// The first row of every `size` whole rows of the parts, and of each part the number of the first.
struct Cuts {
  std::vector<std::int64_t> rows, first;
  Cuts(Parts parts, std::int64_t size) {
    for (const Part& part : parts) {
      first.push_back(std::ssize(rows));
      for (std::int64_t t = part.begin; t + size <= part.end; t += size) rows.push_back(t);
    }
  }
};

/// to [cols, rows] = the first `cols` columns of from's rows, which are `stride` apart.
void transpose(const float* from, std::int64_t stride, std::int64_t rows, std::int64_t cols,
               float* to) {
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t c = 0; c < cols; ++c) to[c * rows + r] = from[r * stride + c];
  }
}

// ---- whole chunks -------------------------------------------------------------------------------

/// What the heads of a group share in every chunk: C [Q, N], B [N, Q] and C B^T [Q, Q], each
/// [chunks, G] times.
struct Pieces {
  float *C, *B, *scores;
};

Pieces take_pieces(Context& ctx, std::int64_t groups, std::int64_t states, const Inputs& in,
                   const std::vector<std::int64_t>& rows) {
  constexpr std::int64_t Q = kSsdChunk;
  const std::int64_t pieces = std::ssize(rows) * groups;
  const Pieces result{ctx.arena.take<float>(pieces * Q * states),
                      ctx.arena.take<float>(pieces * Q * states),
                      ctx.arena.take<float>(pieces * Q * Q)};
  ctx.threads.parallel_for(pieces, 1, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t t = rows[static_cast<std::size_t>(i / groups)],
                         column = i % groups * states;
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

/// Parts of whole chunks. An int8 state is f32 in the scratch while they last.
void run_chunks(Context& ctx, const SsdParams& params, const Inputs& in, Parts parts) {
  constexpr std::int64_t Q = kSsdChunk;
  const std::int64_t H = params.heads, P = params.head_dim, G = params.groups, N = params.states;
  const Arena::Scope scope(ctx.arena);
  const Cuts chunks(parts, Q);
  const Pieces pieces = take_pieces(ctx, G, N, in, chunks.rows);
  const std::int64_t columns = columns_of(P), blocks = (P + columns - 1) / columns;
  const std::int64_t factors = Q * (Q + 2 * columns), scratch = factors + N * columns;
  float* const scratches = ctx.arena.take<float>(scratch * ctx.threads.threads());

  const auto run_block = [&](const Part& part, std::int64_t first_chunk, std::int64_t head,
                             std::int64_t p, float* own) {
    const std::int64_t channel = head * P + p, channels = std::min(columns, P - p);
    const bool by_row = part.state.dtype == DType::i8;
    SsdRows rows{};
    if (by_row) {
      rows = rows_of(params, part.state, head, p, channels, own + factors);
      ctx.kernels.ssd->widen_rows(rows);
    }
    for (std::int64_t t = part.begin; t < part.end; t += Q) {
      const std::int64_t piece = (first_chunk + (t - part.begin) / Q) * G + head / (H / G);
      ctx.kernels.ssd->chunk(
          {.channels = channels,
           .states = N,
           .delta = in.steps.delta + t * H + head,
           .decay = in.steps.decay + t * H + head,
           .step_stride = H,
           .x = in.x.f32(t) + channel,
           .x_stride = in.x.stride,
           .more = t + Q < part.end,
           .B = pieces.B + piece * Q * N,
           .C = pieces.C + piece * Q * N,
           .scores = pieces.scores + piece * Q * Q,
           .D = params.D + channel,
           .state = by_row ? rows.wide : static_cast<float*>(part.state.data) + head * N * P + p,
           .state_stride = by_row ? channels : P,
           .scratch = own,
           .y = const_cast<Activation&>(in.y).f32(t) + channel,
           .y_stride = in.y.stride});
      if (by_row) ctx.kernels.ssd->round_rows(rows);
    }
  };
  const std::int64_t each = H * blocks;
  ctx.threads.parallel_for(std::ssize(parts) * each, 1,
                           [&](std::int64_t begin, std::int64_t end, int thread) {
                             for (std::int64_t i = begin; i < end; ++i) {
                               const auto part = static_cast<std::size_t>(i / each);
                               const std::int64_t block = i % each;
                               run_block(parts[part], chunks.first[part], block / blocks,
                                         block % blocks * columns, scratches + thread * scratch);
                             }
                           });
}

// ---- chunks that a call has in part -------------------------------------------------------------

/// Lets what is recent of one head, `before` tokens, decay by `a` and adds a token.
void decay_recent(float a, std::int64_t before, float* decay) {
  decay[0] = before == 0 ? a : decay[0] * a;
  for (std::int64_t s = 0; s < before; ++s) decay[s + 1] *= a;
  if (before + 1 < kSsdChunk) decay[before + 1] = 1.0f;
}

/// The end of a chunk for one head: its state is advanced and nothing is recent. `dx` [P] is the
/// last token's; scratch: [columns * (N + Q)].
void finish_head(Context& ctx, const SsdParams& params, const SsdState& state, std::int64_t head,
                 const float* dx, float* scratch) {
  constexpr std::int64_t Q = kSsdChunk;
  const std::int64_t P = params.head_dim, N = params.states;
  const std::int64_t columns = columns_of(P), group = head / (params.heads / params.groups);
  const bool by_row = state.dtype == DType::i8;
  float* const decay = state.recent.decay + head * Q;
  float* const recent = state.recent.dx + head * (Q - 1) * P;
  for (std::int64_t p = 0; p < P; p += columns) {
    const std::int64_t channels = std::min(columns, P - p);
    float* const left = scratch + N * columns;
    for (std::int64_t s = 0; s + 1 < Q; ++s) {
      for (std::int64_t c = 0; c < channels; ++c) {
        left[s * channels + c] = decay[s + 1] * recent[s * P + p + c];
      }
    }
    std::copy_n(dx + p, channels, left + (Q - 1) * channels);
    SsdRows rows{};
    if (by_row) {
      rows = rows_of(params, state, head, p, channels, scratch);
      ctx.kernels.ssd->widen_rows(rows);
    }
    ctx.kernels.ssd->advance(
        {.channels = channels,
         .states = N,
         .decay = decay[0],
         .B = state.recent.B + group * N * Q,
         .left = left,
         .state = by_row ? rows.wide : static_cast<float*>(state.data) + head * N * P + p,
         .state_stride = by_row ? channels : P});
    if (by_row) ctx.kernels.ssd->round_rows(rows);
  }
  std::fill_n(recent, (Q - 1) * P, 0.0f);
  std::fill_n(decay, Q, 0.0f);
}

/// Parts of one chunk each.
void run_recent(Context& ctx, const SsdParams& params, const Inputs& in, Parts parts) {
  constexpr std::int64_t Q = kSsdChunk;
  const std::int64_t H = params.heads, P = params.head_dim, G = params.groups, N = params.states;
  const std::int64_t tokens = tokens_of(parts);
  const Arena::Scope scope(ctx.arena);
  float* const scores = ctx.arena.take<float>(in.x.rows * G * Q);
  const std::int64_t by_group = std::ssize(parts) * G;
  const std::int64_t group_grain = tokens * G * N * Q < kSerialUpdates ? by_group : 1;
  ctx.threads.parallel_for(by_group, group_grain, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t i = begin; i < end; ++i) {
      const Part& part = parts[static_cast<std::size_t>(i / G)];
      const std::int64_t group = i % G;
      float* const B = part.state.recent.B + group * N * Q;
      for (std::int64_t t = part.begin; t < part.end; ++t) {
        const float* const own = in.B.f32(t) + group * N;
        const std::int64_t column = part.before + t - part.begin;
        for (std::int64_t n = 0; n < N; ++n) B[n * Q + column] = own[n];
        ctx.kernels.ssd->scores({.tokens = 1,
                                 .states = N,
                                 .C = in.C.f32(t) + group * N,
                                 .B = B,
                                 .scores = scores + (t * G + group) * Q});
      }
    }
  });

  const auto run_head = [&](const Part& part, std::int64_t head, float* last_dx) {
    const SsdState& state = part.state;
    const bool by_row = state.dtype == DType::i8;
    const auto token = by_row ? ctx.kernels.ssd->token_i8 : ctx.kernels.ssd->token_f32;
    float* const decay = state.recent.decay + head * Q;
    float* const dx = state.recent.dx + head * (Q - 1) * P;
    const auto head_bytes = N * P * static_cast<std::int64_t>(size_of(state.dtype));
    for (std::int64_t t = part.begin; t < part.end; ++t) {
      const std::int64_t i = part.before + t - part.begin;
      const float* const G_row = scores + (t * G + head / (H / G)) * Q;
      float mixing[Q];
      decay_recent(in.steps.decay[t * H + head], i, decay);
      for (std::int64_t s = 0; s < i; ++s) mixing[s] = decay[s + 1] * G_row[s];
      mixing[i] = G_row[i];
      token({.head_dim = P,
             .states = N,
             .before = i,
             .state = static_cast<const char*>(state.data) + head * head_bytes,
             .row_scale = by_row ? state.row_scale + head * P : nullptr,
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
    if (part.before + part.tokens() == Q) {
      finish_head(ctx, params, state, head, last_dx, last_dx + P);
    }
  };
  const std::int64_t scratch = P + columns_of(P) * (N + Q);
  float* const scratches = ctx.arena.take<float>(scratch * ctx.threads.threads());
  const std::int64_t by_head = std::ssize(parts) * H;
  const std::int64_t grain = tokens * H * N * P < kSerialUpdates ? by_head : 1;
  ctx.threads.parallel_for(by_head, grain, [&](std::int64_t begin, std::int64_t end, int thread) {
    for (std::int64_t i = begin; i < end; ++i) {
      run_head(parts[static_cast<std::size_t>(i / H)], i % H, scratches + thread * scratch);
    }
  });
  for (const Part& part : parts) {
    if (part.before + part.tokens() == Q) std::fill_n(part.state.recent.B, G * N * Q, 0.0f);
  }
}

// ---- states that are rounded after every token --------------------------------------------------

/// B and C with the tokens of a whole block side by side, [blocks, G N, kSsdBlock].
struct Blocks {
  float *B, *C;
};

Blocks take_blocks(Context& ctx, const Inputs& in, const std::vector<std::int64_t>& rows) {
  const std::int64_t blocks = std::ssize(rows), size = kSsdBlock * in.B.cols;
  const Blocks result{ctx.arena.take<float>(blocks * size), ctx.arena.take<float>(blocks * size)};
  ctx.threads.parallel_for(blocks, 2, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t t = rows[static_cast<std::size_t>(i)];
      transpose(in.B.f32(t), in.B.stride, kSsdBlock, in.B.cols, result.B + i * size);
      transpose(in.C.f32(t), in.C.stride, kSsdBlock, in.C.cols, result.C + i * size);
    }
  });
  return result;
}

void run_tokens(Context& ctx, const SsdParams& params, const Inputs& in, Parts parts) {
  const std::int64_t H = params.heads, P = params.head_dim, G = params.groups, N = params.states;
  const Arena::Scope scope(ctx.arena);
  const Cuts cuts(parts, kSsdBlock);
  const Blocks blocks = take_blocks(ctx, in, cuts.rows);
  const SsdState& like = parts.front().state;
  const bool by_channel = like.dtype == DType::i8 && like.scale;
  const bool by_cluster = like.dtype == DType::i8 && like.clusters.table;
  float* inverse = ctx.arena.take<float>(H * P);
  for (std::int64_t c = 0; by_channel && c < H * P; ++c) inverse[c] = 1.0f / like.scale[c];
  const Microkernel run = microkernel(*ctx.kernels.ssd, like);
  const auto head_bytes = N * P * static_cast<std::int64_t>(size_of(like.dtype));

  const auto run_head = [&](const Part& part, std::int64_t first_block, std::int64_t head) {
    const std::int64_t group = head / (H / G);
    const float *scale = by_channel ? like.scale + head * P : nullptr,
                *one_by = by_channel ? inverse + head * P : nullptr;
    if (by_cluster) {
      const std::int64_t table = like.clusters.table[head] * N * kSsdTable;
      scale = like.clusters.scale + table;
      one_by = like.clusters.inverse + table;
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
               .state = static_cast<char*>(part.state.data) + head * head_bytes,
               .scale = scale,
               .inverse = one_by,
               .slot = by_cluster ? like.clusters.slot + head * P : nullptr,
               .y = nullptr,
               .y_stride = in.y.stride};
    for (std::int64_t t = part.begin; t < part.end; t += job.tokens) {
      const bool whole = t + kSsdBlock <= part.end;
      const std::int64_t block = first_block + (t - part.begin) / kSsdBlock,
                         at = (block * G + group) * N * kSsdBlock;
      job.tokens = whole ? kSsdBlock : 1;
      job.delta = in.steps.delta + t * H + head;
      job.decay = in.steps.decay + t * H + head;
      job.x = in.x.f32(t) + head * P;
      job.B = whole ? blocks.B + at : in.B.f32(t) + group * N;
      job.C = whole ? blocks.C + at : in.C.f32(t) + group * N;
      job.y = const_cast<Activation&>(in.y).f32(t) + head * P;
      run(job);
    }
  };
  const std::int64_t tasks = std::ssize(parts) * H;
  const std::int64_t grain = tokens_of(parts) * H * N * P < kSerialUpdates ? tasks : 1;
  ctx.threads.parallel_for(tasks, grain, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t i = begin; i < end; ++i) {
      const auto part = static_cast<std::size_t>(i / H);
      run_head(parts[part], cuts.first[part], i % H);
    }
  });
}

// ---- all ----------------------------------------------------------------------------------------

/// Sequences cut where chunks begin and end: what comes before the first whole chunk of each, the
/// whole chunks, and the rest.
void run_all(Context& ctx, const SsdParams& params, const Inputs& in,
             std::span<const SequenceRun<SsdState>> sequences) {
  constexpr std::int64_t Q = kSsdChunk;
  std::vector<Part> tokens, opened, whole, open;
  for (const auto& [rows, state] : sequences) {
    const std::int64_t before = rows.position % Q;
    const auto add = [&, &own = state](std::vector<Part>& parts, std::int64_t begin,
                                       std::int64_t end, std::int64_t begins) {
      if (begin < end) parts.push_back({begin, end, begins, own});
    };
    if (!has_chunks(state)) {
      add(tokens, rows.begin, rows.end, 0);
      continue;
    }
    const std::int64_t first = std::min(rows.begin + (Q - before) % Q, rows.end),
                       last = first + (rows.end - first) / Q * Q;
    add(opened, rows.begin, first, before);
    add(whole, first, last, 0);
    add(open, last, rows.end, 0);
  }
  if (!tokens.empty()) run_tokens(ctx, params, in, tokens);
  if (!opened.empty()) run_recent(ctx, params, in, opened);
  if (!whole.empty()) run_chunks(ctx, params, in, whole);
  if (!open.empty()) run_recent(ctx, params, in, open);
}

}  // namespace

void cpu::ssd(Context& ctx, const SsdParams& params, const SsdInputs& in,
              std::span<const SequenceRun<SsdState>> sequences, const Activation& y) {
  [[maybe_unused]] const std::int64_t tokens = in.x.rows;
  const std::int64_t H = params.heads;
  const std::int64_t P = params.head_dim, G = params.groups, N = params.states;
  assert(H % G == 0 && in.x.cols == H * P && in.dt.rows == tokens && in.dt.cols == H);
  assert(in.B.rows == tokens && in.B.cols == G * N && in.C.rows == tokens && in.C.cols == G * N);
  assert(y.dtype == DType::f32 && y.rows == tokens && y.cols == H * P);
  const Arena::Scope scope(ctx.arena);
  const Activation dt = widened(ctx, in.dt);
  const Inputs all{widened(ctx, in.x), widened(ctx, in.B), widened(ctx, in.C), y,
                   take_steps(ctx, params, dt)};
  run_with_history(
      sequences,
      [&](std::span<const SequenceRun<SsdState>> part) { run_all(ctx, params, all, part); },
      [&](const SsdState& state, std::int64_t offset) {
        const auto copy = [&](void* from, std::int64_t bytes) {
          if (from)
            std::memcpy(static_cast<char*>(from) + offset, from, static_cast<std::size_t>(bytes));
        };
        constexpr std::int64_t Q = kSsdChunk, f32 = sizeof(float);
        copy(state.data, H * N * P * static_cast<std::int64_t>(size_of(state.dtype)));
        copy(state.row_scale, H * P * f32);
        copy(state.recent.dx, H * (Q - 1) * P * f32);
        copy(state.recent.B, G * N * Q * f32);
        copy(state.recent.decay, H * Q * f32);
      });
}

}  // namespace krait
