// The product of decoded codes by sdot: four columns of four rows, a quarter of a tile, by four
// columns of one token.
#pragma once

#include "kernels/linear/linear_codes_neon.h"

namespace krait {
namespace {

template <int C>
void dot_product(const GroupBlock& b) {
  int32x4_t sum[C][4];
#pragma GCC unroll 4
  for (int c = 0; c < C; ++c) {
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) sum[c][q] = vdupq_n_s32(0);
  }
  for (std::int64_t k = 0; k < b.columns; k += 8) {
    int8x8_t x[C];
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) x[c] = vld1_s8(b.x + c * b.x_stride + k);
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) {
      const std::int8_t* tile = b.tiles + k * 16 + q * 16;
      const int8x16_t w0 = vld1q_s8(tile), w1 = vld1q_s8(tile + 64);
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) {
        sum[c][q] = vdotq_lane_s32(sum[c][q], w0, x[c], 0);
        sum[c][q] = vdotq_lane_s32(sum[c][q], w1, x[c], 1);
      }
    }
  }
#pragma GCC unroll 4
  for (int c = 0; c < C; ++c) add_scaled(b, sum[c], b.y + c * 16);
}

}  // namespace
}  // namespace krait
