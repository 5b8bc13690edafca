// Codes with NEON of Armv8.0, without dot products: bytes are multiplied to int16. |x| <= 128 and
// |w| <= 127 give at most 16256, so that two products fit before pairs of them are added to int32.
#include "kernels/linear/linear_codes_neon.h"

namespace krait {
namespace {

struct Wide {
  static constexpr int kTokens = 2;  // 8 x 2 sums, 2 x 2 x, the tile and what is multiplied

  template <int C>
  static void multiply(const GroupBlock& b) {
    int32x4_t pairs[C][8];  // of two rows each: columns 0 + 1 and 2 + 3
#pragma GCC unroll 2
    for (int c = 0; c < C; ++c) {
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i) pairs[c][i] = vdupq_n_s32(0);
    }
    for (std::int64_t k = 0; k < b.columns; k += 8) {
      int8x16_t x0[C], x1[C];
#pragma GCC unroll 2
      for (int c = 0; c < C; ++c) {
        x0[c] = broadcast4(b.x + c * b.x_stride + k);
        x1[c] = broadcast4(b.x + c * b.x_stride + k + 4);
      }
#pragma GCC unroll 4
      for (int q = 0; q < 4; ++q) {
        const std::int8_t* tile = b.tiles + k * 16 + q * 16;
        const int8x16_t w0 = vld1q_s8(tile), w1 = vld1q_s8(tile + 64);
#pragma GCC unroll 2
        for (int c = 0; c < C; ++c) {
          int16x8_t low = vmull_s8(vget_low_s8(w0), vget_low_s8(x0[c]));
          int16x8_t high = vmull_high_s8(w0, x0[c]);
          low = vmlal_s8(low, vget_low_s8(w1), vget_low_s8(x1[c]));
          high = vmlal_high_s8(high, w1, x1[c]);
          pairs[c][2 * q] = vpadalq_s16(pairs[c][2 * q], low);
          pairs[c][2 * q + 1] = vpadalq_s16(pairs[c][2 * q + 1], high);
        }
      }
    }
#pragma GCC unroll 2
    for (int c = 0; c < C; ++c) {
      int32x4_t sum[4];
#pragma GCC unroll 4
      for (int q = 0; q < 4; ++q) sum[q] = vpaddq_s32(pairs[c][2 * q], pairs[c][2 * q + 1]);
      add_scaled(b, sum, b.y + c * 16);
    }
  }
};

}  // namespace

constinit const LinearCodesKernels linear_codes_neon = {.i8 = product_of_decoded<Neon<Wide>>};

}  // namespace krait
