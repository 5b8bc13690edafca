// ssd_kernels.h over Vec: included by one file per instruction set, after its vec header.
#pragma once

#include "kernels/ssd/ssd_kernels.h"
#include "kernels/vec_math.h"

#include "kernels/ssd/ssd_chunk_impl.h"
#include "kernels/ssd/ssd_rows_impl.h"

namespace krait {
namespace {

void ssd_steps(const SsdSteps& s) {
  for_blocks<kLanes>(s.heads, [&](std::int64_t h, auto part) {
    Vec delta = softplus(load(s.dt + h, part) + load(s.dt_bias + h, part));
    delta = min(max(delta, broadcast(s.dt_min)), broadcast(s.dt_max));
    store(s.delta + h, delta, part);
    store(s.decay + h, exp2(delta * load(s.a2 + h, part)), part);
  });
}

// The types of state: how it is kept in memory and what is left of S after a token. One object is
// for a vector of channels, from c on; at(n) is the one for their state n.
struct SsdF16 {
  using Element = std::uint16_t;
  template <typename P>
  static SsdF16 make(const SsdRun&, std::int64_t, P) noexcept {
    return {};
  }
  template <typename P>
  Vec read(const std::uint16_t* p, P part) const noexcept {
    return load_f16(p, part);
  }
  template <typename P>
  void write(std::uint16_t* p, Vec s, P part) const noexcept {
    store_f16(p, s, part);
  }
  Vec rounded(Vec s) const noexcept { return round_to_f16(s); }
  SsdF16 at(std::int64_t) const noexcept { return *this; }
};
struct SsdI8 {
  using Element = std::int8_t;
  template <typename P>
  static SsdI8 make(const SsdRun& run, std::int64_t c, P part) noexcept {
    return {load(run.scale + c, part), load(run.inverse + c, part)};
  }
  template <typename P>
  Vec read(const std::int8_t* p, P part) const noexcept {
    return to_float(load_i8(p, part)) * scale;
  }
  template <typename P>
  void write(std::int8_t* p, Vec s, P part) const noexcept {
    store_i8(p, quantized(s), part);
  }
  Vec rounded(Vec s) const noexcept { return to_float(quantized(s)) * scale; }
  Ints quantized(Vec s) const noexcept {
    return round_to_int(min(max(s * inverse, broadcast(-128.0f)), broadcast(127.0f)));
  }
  SsdI8 at(std::int64_t) const noexcept { return *this; }
  Vec scale, inverse;
};
struct SsdI8Clusters {
  using Element = std::int8_t;
  template <typename P>
  static SsdI8Clusters make(const SsdRun& run, std::int64_t c, P part) noexcept {
    return {run.scale, run.inverse, load_i8(run.slot + c, part)};
  }
  SsdI8 at(std::int64_t n) const noexcept {
    return {lookup(scale + n * kSsdTable, slot), lookup(inverse + n * kSsdTable, slot)};
  }
  const float *scale, *inverse;
  Ints slot;
};

/// Channels from p on, `vecs` vectors of them, and `tokens` tokens of the `step` whose B and C lie
/// side by side. Each state is read once, taken through all tokens and written once.
template <typename State, int tokens, int step, int vecs, typename P>
[[gnu::always_inline]] inline void ssd_block(const SsdRun& run, std::int64_t p, P part) {
  Vec decay[tokens], dx[vecs][tokens], y[vecs][tokens];
  State kept[vecs];
#pragma GCC unroll 8
  for (int t = 0; t < tokens; ++t) decay[t] = broadcast(run.decay[t * run.step_stride]);
#pragma GCC unroll 4
  for (int v = 0; v < vecs; ++v) {
    const std::int64_t c = p + v * kLanes;
    const Vec D = load(run.D + c, part);
    kept[v] = State::make(run, c, part);
#pragma GCC unroll 8
    for (int t = 0; t < tokens; ++t) {
      const Vec x = load(run.x + t * run.x_stride + c, part);
      dx[v][t] = broadcast(run.delta[t * run.step_stride]) * x;
      y[v][t] = D * x;
    }
  }
  auto* state = static_cast<typename State::Element*>(run.state) + p;
  const float *B = run.B, *C = run.C;
  for (std::int64_t n = 0; n < run.states; ++n) {
#pragma GCC unroll 4
    for (int v = 0; v < vecs; ++v) {
      const auto here = kept[v].at(n);
      Vec s = here.read(state + v * kLanes, part);
#pragma GCC unroll 8
      for (int t = 0; t < tokens; ++t) {
        s = fma(decay[t], s, dx[v][t] * broadcast(B[t]));
        y[v][t] = fma(broadcast(C[t]), s, y[v][t]);
        if (t + 1 < tokens) s = here.rounded(s);
      }
      here.write(state + v * kLanes, s, part);
    }
    state += run.head_dim;
    B += step;
    C += step;
  }
#pragma GCC unroll 4
  for (int v = 0; v < vecs; ++v) {
#pragma GCC unroll 8
    for (int t = 0; t < tokens; ++t) {
      store(run.y + t * run.y_stride + p + v * kLanes, y[v][t], part);
    }
  }
}

template <typename State>
void ssd_one(const SsdRun& run) {
  std::int64_t p = 0;
  for (; p + 4 * kLanes <= run.head_dim; p += 4 * kLanes) {  // several chains at a time
    ssd_block<State, 1, 1, 4>(run, p, Whole{});
  }
  for_blocks<kLanes>(run.head_dim - p, [&](std::int64_t rest, auto part) {
    ssd_block<State, 1, 1, 1>(run, p + rest, part);
  });
}

// Tokens whose decays, inputs and outputs fit into the registers.
constexpr int kTokens = kLanes == 16 ? 8 : 4;

template <typename State>
void ssd_run(const SsdRun& run) {
  if (run.tokens == 1) return ssd_one<State>(run);
  SsdRun part_run = run;
  for (int t = 0; t < kSsdBlock; t += kTokens) {
    for_blocks<kLanes>(run.head_dim, [&](std::int64_t p, auto part) {
      ssd_block<State, kTokens, kSsdBlock, 1>(part_run, p, part);
    });
    part_run.delta += kTokens * run.step_stride;
    part_run.decay += kTokens * run.step_stride;
    part_run.x += kTokens * run.x_stride;
    part_run.B += kTokens;
    part_run.C += kTokens;
    part_run.y += kTokens * run.y_stride;
  }
}

constexpr SsdKernels kSsdKernels{
    ssd_steps,     ssd_run<SsdF16>, ssd_run<SsdI8>,   ssd_run<SsdI8Clusters>, ssd_scores,
    ssd_chunk,     ssd_advance,     ssd_token<float>, ssd_token<std::int8_t>, ssd_widen_rows,
    ssd_round_rows};

}  // namespace
}  // namespace krait
