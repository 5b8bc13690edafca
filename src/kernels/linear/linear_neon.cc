// NEON of Armv8.0, without dot products: bytes are multiplied to int16. |x| <= 128 and |w| <= 127
// give at most 16256, so that two products fit before pairs of them are added to int32.
#include "kernels/linear/linear_neon.h"

namespace krait {
namespace {

template <int C>
void tile_product(const I8Product& p, std::int64_t tile_row, std::int64_t token,
                  const std::int8_t* next, std::int64_t next_step) {
  const std::int8_t* w = p.tiles + tile_row * p.cols4 * 64;
  const std::int8_t* x = reinterpret_cast<const std::int8_t*>(p.x + token * p.x_stride);
  int32x4_t sum[8][C];  // of two rows each: columns 0 + 1 and 2 + 3
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
#pragma GCC unroll 2
    for (int c = 0; c < C; ++c) sum[i][c] = vdupq_n_s32(0);
  }
  std::int64_t j = 0;
  for (; j + 2 <= p.cols4; j += 2) {
    __builtin_prefetch(next);
    next += 2 * next_step;
    int8x16_t x0[C], x1[C];
#pragma GCC unroll 2
    for (int c = 0; c < C; ++c) {
      x0[c] = broadcast4(x + c * p.x_stride + j * 4);
      x1[c] = broadcast4(x + c * p.x_stride + j * 4 + 4);
    }
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) {
      const int8x16_t w0 = vld1q_s8(w + j * 64 + q * 16), w1 = vld1q_s8(w + j * 64 + 64 + q * 16);
#pragma GCC unroll 2
      for (int c = 0; c < C; ++c) {
        int16x8_t low = vmull_s8(vget_low_s8(w0), vget_low_s8(x0[c]));
        int16x8_t high = vmull_high_s8(w0, x0[c]);
        low = vmlal_s8(low, vget_low_s8(w1), vget_low_s8(x1[c]));
        high = vmlal_high_s8(high, w1, x1[c]);
        sum[2 * q][c] = vpadalq_s16(sum[2 * q][c], low);
        sum[2 * q + 1][c] = vpadalq_s16(sum[2 * q + 1][c], high);
      }
    }
  }
  if (j < p.cols4) {
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) {
      const int8x16_t tile = vld1q_s8(w + j * 64 + q * 16);
#pragma GCC unroll 2
      for (int c = 0; c < C; ++c) {
        const int8x16_t bytes = broadcast4(x + c * p.x_stride + j * 4);
        const int16x8_t low = vmull_s8(vget_low_s8(tile), vget_low_s8(bytes));
        sum[2 * q][c] = vpadalq_s16(sum[2 * q][c], low);
        sum[2 * q + 1][c] = vpadalq_s16(sum[2 * q + 1][c], vmull_high_s8(tile, bytes));
      }
    }
  }
#pragma GCC unroll 2
  for (int c = 0; c < C; ++c) {
    const int32x4_t rows[4] = {vpaddq_s32(sum[0][c], sum[1][c]), vpaddq_s32(sum[2][c], sum[3][c]),
                               vpaddq_s32(sum[4][c], sum[5][c]), vpaddq_s32(sum[6][c], sum[7][c])};
    store_rows(p, tile_row, token + c, rows);
  }
}

constexpr std::int64_t kTokens = 2;  // 8 x 2 sums, 2 x 2 x, the tile and what is multiplied
constexpr TileProduct kTileProducts[kTokens + 1] = {nullptr, tile_product<1>, tile_product<2>};

void product_i8(const I8Product& p) { product_in_blocks(p, kTileProducts, kTokens); }

}  // namespace

constinit const LinearKernels linear_neon = linear_kernels(product_i8);

}  // namespace krait
