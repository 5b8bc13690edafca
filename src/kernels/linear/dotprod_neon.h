// The product of int8 by sdot, which multiplies four columns of four rows, as a quarter of a tile
// is, by four columns of one token.
#pragma once

#include "kernels/linear/linear_neon.h"

namespace krait {
namespace {

/// One tile times the four bytes of lane `lane` of each x.
template <int lane, int C>
[[gnu::always_inline]] inline void add_tile(int32x4_t (&sum)[4][C], const std::int8_t* tile,
                                            const int8x16_t (&x)[C]) {
#pragma GCC unroll 4
  for (int q = 0; q < 4; ++q) {
    const int8x16_t w = vld1q_s8(tile + q * 16);
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) sum[q][c] = vdotq_laneq_s32(sum[q][c], w, x[c], lane);
  }
}

template <int C>
void dot_product(const I8Product& p, std::int64_t tile_row, std::int64_t token,
                 const std::int8_t* next, std::int64_t next_step) {
  const std::int8_t* w = p.tiles + tile_row * p.cols4 * 64;
  const std::int8_t* x = reinterpret_cast<const std::int8_t*>(p.x + token * p.x_stride);
  int32x4_t sum[4][C];
#pragma GCC unroll 4
  for (int q = 0; q < 4; ++q) {
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) sum[q][c] = vdupq_n_s32(0);
  }
  std::int64_t j = 0;
  for (; j + 4 <= p.cols4; j += 4) {
#pragma GCC unroll 4
    for (int u = 0; u < 4; ++u) __builtin_prefetch(next + u * next_step);
    next += 4 * next_step;
    int8x16_t four[C];  // tiles of x
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) four[c] = vld1q_s8(x + c * p.x_stride + j * 4);
    add_tile<0>(sum, w + j * 64, four);
    add_tile<1>(sum, w + j * 64 + 64, four);
    add_tile<2>(sum, w + j * 64 + 128, four);
    add_tile<3>(sum, w + j * 64 + 192, four);
  }
  for (; j < p.cols4; ++j) {
    int8x16_t one[C];
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) one[c] = broadcast4(x + c * p.x_stride + j * 4);
    add_tile<0>(sum, w + j * 64, one);
  }
#pragma GCC unroll 4
  for (int c = 0; c < C; ++c) {
    const int32x4_t rows[4] = {sum[0][c], sum[1][c], sum[2][c], sum[3][c]};
    store_rows(p, tile_row, token + c, rows);
  }
}

}  // namespace
}  // namespace krait
