// The product of 4-bit weights by sdot: both halves of a quarter of a line times the eight bytes of
// each token.
#pragma once

#include "kernels/linear/linear4_neon.h"

namespace krait {
namespace {

struct Dot {
  template <int C>
  [[gnu::always_inline]] static void multiply(const Group& g, int32x4_t (&sum)[C][4]) {
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) {
#pragma GCC unroll 4
      for (int q = 0; q < 4; ++q) sum[c][q] = vdupq_n_s32(g.x_sum[c * g.x_sum_stride]);
    }
    for (std::int64_t i = 0; i < g.lines; ++i) {
      __builtin_prefetch(g.w + i * 64 + 2048);
      int8x8_t x[C];
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) x[c] = vld1_s8(g.x + c * g.x_stride + i * 8);
#pragma GCC unroll 4
      for (int q = 0; q < 4; ++q) {
        const Unpacked w(g.w + i * 64 + q * 16);
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) {
          sum[c][q] = vdotq_lane_s32(sum[c][q], w.low, x[c], 0);
          sum[c][q] = vdotq_lane_s32(sum[c][q], w.high, x[c], 1);
        }
      }
    }
  }
};

}  // namespace
}  // namespace krait
