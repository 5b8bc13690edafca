// A dynamic int8 state over Vec: part of ssd_impl.h. Each row, one channel of a head with its
// states, has a scale of its own that is measured after every token, so S waits in f32 until its
// largest value is known: the states of a vector of channels, which fit into the first-level cache.
#pragma once

#include "kernels/ssd/ssd_kernels.h"
#include "kernels/vec_math.h"

namespace krait {
namespace {

constexpr std::uint32_t kGoldenRatio = 0x9e3779b9;

/// The noise of one token for one vector of channels, state by state from n = 0 on.
template <bool dithered>
struct RowNoise {
  RowNoise(const SsdRun& run, std::int64_t p, std::int64_t t) {
    const std::uint32_t first = (run.counter + static_cast<std::uint32_t>(p)) * kGoldenRatio;
    x = lane_numbers() * broadcast_int(kGoldenRatio) + broadcast_int(first + run.keys[t].low);
    step = broadcast_int(static_cast<std::uint32_t>(run.head_dim) * kGoldenRatio);
    high = broadcast_int(run.keys[t].high);
  }
  Vec next() {
    Ints mixed = x ^ shift_right<16>(x);
    mixed = mixed * broadcast_int(0x7feb352d);
    mixed = mixed ^ shift_right<15>(mixed);
    mixed = (mixed + high) * broadcast_int(0x846ca68b);
    x = x + step;
    return fma(to_float(shift_right_signed<8>(mixed)), broadcast(0x1p-24f), broadcast(0x1p-25f));
  }
  Ints x, step, high;
};
template <>
struct RowNoise<false> {
  RowNoise(const SsdRun&, std::int64_t, std::int64_t) {}
  Vec next() { return broadcast(0.0f); }
};

/// Scales of a vector of rows and what rounds to them.
struct RowScale {
  /// `largest` = max_n |S[n, p]|.
  static RowScale of(Vec largest) {
    const Vec scale = max(largest, broadcast(1e-30f)) / broadcast(127.0f);
    return {scale, broadcast(1.0f) / scale};
  }
  /// q of s and noise u.
  Ints quantized(Vec s, Vec u) const {
    return round_to_int(min(max(s * inverse + u, broadcast(-127.0f)), broadcast(127.0f)));
  }
  Vec scale, inverse;
};

/// The rows of the channels from p on through all tokens; `step` tokens of B and C lie side by
/// side.
template <bool dithered, int step, typename P>
void ssd_rows_block(const SsdRun& run, std::int64_t p, P part) {
  auto* const state = static_cast<std::int8_t*>(run.state) + p;
  const Vec D = load(run.D + p, part);
  RowScale rows{load(run.row_scale + p, part), broadcast(0.0f)};
  // One token: `read(n)` gives what the token before left of the states n, in steps of the scale.
  const auto take = [&](int t, auto read) {
    const Vec decay = broadcast(run.decay[t * run.step_stride]);
    const Vec x = load(run.x + t * run.x_stride + p, part);
    const Vec dx = broadcast(run.delta[t * run.step_stride]) * x;
    Vec y = D * x, largest = broadcast(0.0f);
    for (std::int64_t n = 0; n < run.states; ++n) {
      const Vec before = read(n) * rows.scale;
      const Vec s = fma(decay, before, dx * broadcast(run.B[n * step + t]));
      y = fma(broadcast(run.C[n * step + t]), s, y);
      largest = max(abs(s), largest);
      store(run.scratch + n * kLanes, s, Whole{});
    }
    store(run.y + t * run.y_stride + p, y, part);
    rows = RowScale::of(largest);
  };
  {
    RowNoise<dithered> noise(run, p, -1);
    take(0, [&](std::int64_t n) {
      return to_float(load_i8(state + n * run.head_dim, part)) - noise.next();
    });
  }
  for (int t = 1; t < run.tokens; ++t) {
    RowNoise<dithered> noise(run, p, t - 1);
    take(t, [&](std::int64_t n) {
      const Vec u = noise.next();
      return to_float(rows.quantized(load(run.scratch + n * kLanes, Whole{}), u)) - u;
    });
  }
  RowNoise<dithered> noise(run, p, run.tokens - 1);
  for (std::int64_t n = 0; n < run.states; ++n) {
    const Vec s = load(run.scratch + n * kLanes, Whole{});
    store_i8(state + n * run.head_dim, rows.quantized(s, noise.next()), part);
  }
  store(run.row_scale + p, rows.scale, part);
}

template <bool dithered>
void ssd_rows(const SsdRun& run) {
  for_blocks<kLanes>(run.head_dim, [&](std::int64_t p, auto part) {
    if (run.tokens == 1) {
      ssd_rows_block<dithered, 1>(run, p, part);
    } else {
      ssd_rows_block<dithered, kSsdBlock>(run, p, part);
    }
  });
}

}  // namespace
}  // namespace krait
