// selective_scan_kernels.h over Vec: included by one file per instruction set, after its vec
// header.
#pragma once

#include "kernels/selective_scan/selective_scan_kernels.h"
#include "kernels/vec_math.h"

namespace krait {
namespace {

// The types of state: how it is kept in memory and what is left of h after a token.
struct StateF32 {
  using Element = float;
  template <typename P>
  static Vec read(const float* p, Vec, P part) {
    return load(p, part);
  }
  template <typename P>
  static void write(float* p, Vec h, Vec, P part) {
    store(p, h, part);
  }
  static Vec rounded(Vec h, Vec) { return h; }
};
struct StateF16 {
  using Element = std::uint16_t;
  template <typename P>
  static Vec read(const std::uint16_t* p, Vec, P part) {
    return load_f16(p, part);
  }
  template <typename P>
  static void write(std::uint16_t* p, Vec h, Vec, P part) {
    store_f16(p, h, part);
  }
  static Vec rounded(Vec h, Vec) { return round_to_f16(h); }
};
struct StateI8 {
  using Element = std::int8_t;
  template <typename P>
  static Vec read(const std::int8_t* p, Vec scale, P part) {
    return to_float(load_i8(p, part)) * scale;
  }
  template <typename P>
  static void write(std::int8_t* p, Vec h, Vec scale, P part) {
    store_i8(p, quantized(h, scale), part);
  }
  static Vec rounded(Vec h, Vec scale) { return to_float(quantized(h, scale)) * scale; }
};

/// A and h of a block of kLanes channels: in registers where the number of states is known to the
/// compiler (`fixed` > 0), else in scratch memory.
template <int fixed>
struct Block {
  explicit Block(const ScanRun&) {}
  Vec a(std::int64_t n) const { return a_[n]; }
  Vec h(std::int64_t n) const { return h_[n]; }
  void set_a(std::int64_t n, Vec a) { a_[n] = a; }
  void set_h(std::int64_t n, Vec h) { h_[n] = h; }

 private:
  Vec a_[fixed], h_[fixed];
};
template <>
struct Block<0> {
  explicit Block(const ScanRun& run) : a_(run.scratch), h_(run.scratch + run.states * kLanes) {}
  Vec a(std::int64_t n) const { return load(a_ + n * kLanes, Whole{}); }
  Vec h(std::int64_t n) const { return load(h_ + n * kLanes, Whole{}); }
  void set_a(std::int64_t n, Vec a) { store(a_ + n * kLanes, a, Whole{}); }
  void set_h(std::int64_t n, Vec h) { store(h_ + n * kLanes, h, Whole{}); }

 private:
  float *a_, *h_;
};

template <int count, int n = 0, typename F>
[[gnu::always_inline]] inline void unrolled(F& f) {
  if constexpr (n < count) {
    f(n);
    unrolled<count, n + 1>(f);
  }
}

/// f(n) for every state n, unrolled where their number is known.
template <int fixed, typename F>
[[gnu::always_inline]] inline void for_states(const ScanRun& run, F f) {
  if constexpr (fixed > 0) {
    unrolled<fixed>(f);
  } else {
    for (std::int64_t n = 0; n < run.states; ++n) f(n);
  }
}

/// delta = softplus(dt + bias) and gate = silu(z) of the whole run. Ahead of the recurrence,
/// because they are long chains of operations that the CPU then works on several at a time.
inline void prepare(const ScanRun& run) {
  for (std::int64_t t = 0; t < run.tokens; ++t) {
    for_blocks<kLanes>(run.channels, [&](std::int64_t c, auto part) {
      const Vec bias = run.dt_bias ? load(run.dt_bias + c, part) : broadcast(0.0f);
      const Vec dt = load(run.dt.data + t * run.dt.stride + c, part);
      store(run.delta + t * run.wide_stride + c, softplus(dt + bias), part);
      // The recurrence reads u and writes y in columns, line by line in other pages: now is the
      // time.
      __builtin_prefetch(run.u.data + t * run.u.stride + c);
      __builtin_prefetch(run.y + t * run.y_stride + c, 1);
    });
    if (!run.z.data) continue;
    for_blocks<kLanes>(run.channels, [&](std::int64_t c, auto part) {
      const Vec z = load(run.z.data + t * run.z.stride + c, part);
      store(run.gate + t * run.wide_stride + c, silu(z), part);
    });
  }
}

// Every state has a line of its own for these channels, rows apart, which the CPU does not foresee:
// those of the blocks to come are asked for early.
constexpr std::int64_t kAhead = 2 * kLanes;

/// Channels from c on, as many as `part` says.
template <typename State, int fixed, typename P>
void scan_block(const ScanRun& run, std::int64_t c, P part) {
  const Vec zero = broadcast(0.0f);
  const Vec D = load(run.D + c, part);
  const Vec h_scale = run.h_scale ? load(run.h_scale + c, part) : zero;
  auto* const state = static_cast<typename State::Element*>(run.h) + c;
  Block<fixed> block(run);
  for_states<fixed>(
      run, [&](std::int64_t n) __attribute__((always_inline)) {
        block.set_a(n, load(run.a2 + n * run.channel_stride + c, part));
        block.set_h(n, State::read(state + n * run.channel_stride, h_scale, part));
        __builtin_prefetch(run.a2 + n * run.channel_stride + c + kAhead);
        __builtin_prefetch(state + n * run.channel_stride + kAhead);
      });
  for (std::int64_t t = 0; t < run.tokens; ++t) {
    const Vec delta = load(run.delta + t * run.wide_stride + c, part);
    const Vec u = load(run.u.data + t * run.u.stride + c, part);
    const Vec du = delta * u;
    const float* const B = run.B.data + t * run.B.stride;
    const float* const C = run.C.data + t * run.C.stride;
    Vec y = D * u;
    for_states<fixed>(
        run, [&](std::int64_t n) __attribute__((always_inline)) {
          const Vec h = fma(exp2(delta * block.a(n)), block.h(n), du * broadcast(B[n]));
          y = fma(broadcast(C[n]), h, y);
          block.set_h(n, State::rounded(h, h_scale));
        });
    if (run.z.data) y = y * load(run.gate + t * run.wide_stride + c, part);
    store(run.y + t * run.y_stride + c, y, part);
  }
  for_states<fixed>(
      run, [&](std::int64_t n) __attribute__((always_inline)) {
        State::write(state + n * run.channel_stride, block.h(n), h_scale, part);
      });
}

// Which numbers of states get code of their own: that of all published Mamba-1 models.
constexpr int unrolled_states(Whole) { return kInRegisters ? 16 : 0; }
constexpr int unrolled_states(Part) { return 0; }

template <typename State>
void scan(const ScanRun& run) {
  prepare(run);
  for_blocks<kLanes>(run.channels, [&](std::int64_t c, auto part) {
    constexpr int fixed = unrolled_states(decltype(part){});
    if (run.states == fixed) {
      scan_block<State, fixed>(run, c, part);
    } else {
      scan_block<State, 0>(run, c, part);
    }
  });
}

constexpr SelectiveScanKernels kSelectiveScanKernels{scan<StateF32>, scan<StateF16>, scan<StateI8>};

}  // namespace
}  // namespace krait
