// What the tests of ssd share: random layers with every kind of state.
#pragma once

#include <algorithm>
#include <array>
#include <limits>
#include <utility>
#include <vector>

#include "core/float16.h"
#include "kernels/quantize/quantize.h"
#include "kernels/ssd/ssd.h"
#include "kernels/test_support.h"

namespace krait {

inline constexpr Numerics kFloat = kAllNumerics[0];
inline constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// How a state is kept: int8 with static scales per channel or per state and cluster of channels,
/// or with dynamic ones per row.
enum class Kept { f32, f16, i8, i8_clusters, i8_rows };
inline constexpr Kept kAllKept[] = {Kept::f32, Kept::f16, Kept::i8, Kept::i8_clusters,
                                    Kept::i8_rows};

struct SsdOptions {
  std::int64_t tokens = 1, heads = 2, head_dim = 16, groups = 1, states = 16;
  Numerics inputs = kFloat;
  Kept state = Kept::f32;
  std::int64_t position = 0;
  float dt_min = 0, dt_max = kInfinity;
};

inline void fill(Rng& rng, TestActivation& x, double bound) {
  if (x.view.dtype == DType::f32) {
    x.f32 = random_floats(rng, std::ssize(x.f32), bound);
    x.view.data = x.f32.data();
  } else {
    x.i8 = random_bytes(rng, std::ssize(x.i8));
    x.view.data = x.i8.data();
  }
}

/// A random layer of plausible magnitudes with its inputs and state.
struct SsdCase {
  explicit SsdCase(const SsdOptions& o)
      : options(o),
        channels(o.heads * o.head_dim),
        x(o.inputs, o.tokens, channels, 0.02f, 5),
        dt(o.inputs, o.tokens, o.heads, 0.03f, 1),
        B(o.inputs, o.tokens, o.groups * o.states, 0.01f, 3),
        C(o.inputs, o.tokens, o.groups * o.states, 0.01f, 2),
        rng(21) {
    for (auto& [values, bound] : {std::pair{&x, 2.0}, {&dt, 4.0}, {&B, 1.0}, {&C, 1.0}}) {
      fill(rng, *values, bound);
    }
    const std::int64_t n = o.states * channels;
    a2 = random_floats(rng, o.heads, -20.0, -0.01);
    D = random_floats(rng, channels, 1.0);
    dt_bias = random_floats(rng, o.heads, -6.0, -1.0);
    state_f32 = random_floats(rng, n, 1.0);
    state_i8 = random_bytes(rng, n);
    for (float h : state_f32) state_f16.push_back(f32_to_f16(h));
    state_scale = random_floats(rng, channels, 0.005, 0.02);
    if (is_dynamic()) {  // rows that fill their range, as a row after a chunk does
      for (std::int64_t c = 0; c < channels; ++c) {
        state_i8[static_cast<std::size_t>(c / o.head_dim * o.states * o.head_dim +
                                          c % o.head_dim)] = 127;
      }
      for (std::int8_t& q : state_i8) q = std::max<std::int8_t>(q, -127);
    }
    if (has_chunks()) make_recent();
    // Two tables, of which heads take one or the other.
    cluster_scale = random_floats(rng, 2 * o.states * kSsdClusters, 0.005, 0.02);
    for (float scale : cluster_scale) cluster_inverse.push_back(1.0f / scale);
    for (std::int64_t h = 0; h < o.heads; ++h) table.push_back(h % 3 == 1);
    for (std::int64_t c = 0; c < channels; ++c) {
      slot.push_back(static_cast<std::int8_t>(rng.below(kSsdClusters)));
    }
  }
  /// Whether the state is that of the last chunk's end.
  bool has_chunks() const { return options.state == Kept::f32 || is_dynamic(); }
  bool is_dynamic() const { return options.state == Kept::i8_rows; }
  bool is_int8() const { return options.state != Kept::f32 && options.state != Kept::f16; }

  SsdParams params() const {
    const SsdOptions& o = options;
    return {.heads = o.heads,
            .head_dim = o.head_dim,
            .groups = o.groups,
            .states = o.states,
            .a2 = a2.data(),
            .D = D.data(),
            .dt_bias = dt_bias.data(),
            .dt_min = o.dt_min,
            .dt_max = o.dt_max};
  }
  SsdState state() {
    const SsdRecent recent{recent_dx.data(), recent_B.data(), recent_decay.data()};
    switch (options.state) {
      case Kept::f32:
        return {.data = state_f32.data(), .recent = recent};
      case Kept::f16:
        return {.data = state_f16.data(), .dtype = DType::f16};
      case Kept::i8:
        return {.data = state_i8.data(), .dtype = DType::i8, .scale = state_scale.data()};
      case Kept::i8_clusters:
        return {
            .data = state_i8.data(),
            .dtype = DType::i8,
            .clusters = {cluster_scale.data(), cluster_inverse.data(), table.data(), slot.data()}};
      case Kept::i8_rows:
        break;
    }
    return {.data = state_i8.data(),
            .dtype = DType::i8,
            .row_scale = state_scale.data(),
            .recent = recent};
  }
  /// Tokens [begin, end) of the inputs, as the rows of a batch.
  SequenceRun<SsdState> tokens(std::int64_t begin, std::int64_t end) {
    return {{.begin = begin, .end = end, .position = options.position + begin}, state()};
  }
  /// Tokens since the last chunk of the sequence ended, as the token at `t` finds them.
  std::int64_t recent(std::int64_t t) const { return (options.position + t) % kSsdChunk; }
  /// State i in memory order, (head, n, p), as the token at `t` finds it.
  double value(std::size_t i, std::int64_t t) const {
    if (options.state == Kept::f16) return f16_to_f32(state_f16[i]);
    const double value = is_int8() ? static_cast<double>(scale(i)) * state_i8[i] : state_f32[i];
    if (!has_chunks() || recent(t) == 0) return value;
    constexpr auto Q = static_cast<std::size_t>(kSsdChunk);
    const auto P = static_cast<std::size_t>(options.head_dim);
    const auto N = static_cast<std::size_t>(options.states);
    const std::size_t head = i / (P * N), n = i / P % N, p = i % P;
    const std::size_t group =
        head * static_cast<std::size_t>(options.groups) / static_cast<std::size_t>(options.heads);
    double sum = value * recent_decay[head * Q];
    for (std::size_t s = 0; s < static_cast<std::size_t>(recent(t)); ++s) {
      sum += static_cast<double>(recent_decay[head * Q + s + 1]) *
             recent_dx[(head * (Q - 1) + s) * P + p] * recent_B[(group * N + n) * Q + s];
    }
    return sum;
  }
  /// Between its neighbours, of an int8 state.
  float scale(std::size_t i) const {
    const auto P = static_cast<std::size_t>(options.head_dim);
    const auto N = static_cast<std::size_t>(options.states);
    const std::size_t head = i / (P * N), n = i / P % N, channel = head * P + i % P;
    if (options.state != Kept::i8_clusters) return state_scale[channel];
    const auto column = static_cast<std::size_t>(static_cast<unsigned char>(slot[channel]));
    return cluster_scale[(static_cast<std::size_t>(table[head]) * N + n) * kSsdClusters + column];
  }
  void run(Context& ctx, const Activation& y, std::int64_t chunk = 1 << 30) {
    for (std::int64_t t = 0; t < options.tokens; t += chunk) {
      run(ctx, y, t, std::min(t + chunk, options.tokens));
    }
  }
  void run(Context& ctx, const Activation& y, std::int64_t begin, std::int64_t end) {
    const SequenceRun<SsdState> one[] = {tokens(begin, end)};
    ssd(ctx, params(), {x.view, dt.view, B.view, C.view}, one, y);
  }
  bool same_state(const SsdCase& other) const {
    return same_bits(state_f32, other.state_f32) && same_bits(state_f16, other.state_f16) &&
           same_bits(state_i8, other.state_i8) && same_bits(state_scale, other.state_scale) &&
           same_bits(recent_dx, other.recent_dx) && same_bits(recent_B, other.recent_B) &&
           same_bits(recent_decay, other.recent_decay);
  }

  SsdOptions options;
  std::int64_t channels;
  TestActivation x, dt, B, C;
  Rng rng;
  std::vector<float> a2, D, dt_bias, state_f32, state_scale, cluster_scale, cluster_inverse;
  std::vector<std::int32_t> table;
  std::vector<std::int8_t> slot;
  std::vector<std::uint16_t> state_f16;
  std::vector<std::int8_t> state_i8;
  std::vector<float> recent_dx, recent_B, recent_decay;

 private:
  /// Random tokens before the first, as many as its position says.
  void make_recent() {
    constexpr std::int64_t Q = kSsdChunk;
    const SsdOptions& o = options;
    const auto only = [&](std::int64_t size, double low, double high, auto is_there) {
      std::vector<float> values = random_floats(rng, size, low, high);
      for (std::int64_t i = 0; i < size; ++i) {
        if (!is_there(i)) values[static_cast<std::size_t>(i)] = 0;
      }
      return values;
    };
    const std::int64_t P = o.head_dim, before = recent(0);
    recent_dx = only((Q - 1) * channels, -0.1, 0.1,
                     [&](std::int64_t i) { return i / P % (Q - 1) < before; });
    recent_B = only(o.groups * o.states * Q, -1, 1, [&](std::int64_t i) { return i % Q < before; });
    recent_decay =
        only(o.heads * Q, 0.5, 1, [&](std::int64_t i) { return before > 0 && i % Q <= before; });
  }
};

inline double at(const TestActivation& x, std::int64_t t, std::int64_t c) {
  float value;
  load_row(quantize_reference, x.view, t, c, c + 1, &value);
  return value;
}

}  // namespace krait
