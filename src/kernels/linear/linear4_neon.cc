// 4-bit weights with NEON of Armv8.0: weights as q + 8 in 0..15 times |x| <= 128 give at most 1920,
// so that sixteen products fit into int16 before pairs of them are added to int32.
#include "kernels/linear/linear4_neon.h"

namespace krait {
namespace {

struct Wide {
  template <int C>
  [[gnu::always_inline]] static void multiply(const Group& g, int32x4_t (&sum)[C][4]) {
    int32x4_t pairs[C][8];  // of two rows each: columns 0 + 1 and 2 + 3 of every line
#pragma GCC unroll 2
    for (int c = 0; c < C; ++c) {
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i) pairs[c][i] = vdupq_n_s32(0);
    }
    for (std::int64_t i = 0; i < g.lines;) {
      int16x8_t words[C][8];
#pragma GCC unroll 2
      for (int c = 0; c < C; ++c) {
#pragma GCC unroll 8
        for (int r = 0; r < 8; ++r) words[c][r] = vdupq_n_s16(0);
      }
      for (const std::int64_t stop = i + 8 < g.lines ? i + 8 : g.lines; i < stop; ++i) {
        __builtin_prefetch(g.w + i * 64 + 2048);
        int8x16_t x_low[C], x_high[C];
#pragma GCC unroll 2
        for (int c = 0; c < C; ++c) {
          x_low[c] = broadcast4(g.x + c * g.x_stride + i * 8);
          x_high[c] = broadcast4(g.x + c * g.x_stride + i * 8 + 4);
        }
#pragma GCC unroll 4
        for (int q = 0; q < 4; ++q) {
          const Unpacked w(g.w + i * 64 + q * 16);
#pragma GCC unroll 2
          for (int c = 0; c < C; ++c) {
            int16x8_t &a = words[c][2 * q], &b = words[c][2 * q + 1];
            a = vmlal_s8(a, vget_low_s8(w.low), vget_low_s8(x_low[c]));
            b = vmlal_high_s8(b, w.low, x_low[c]);
            a = vmlal_s8(a, vget_low_s8(w.high), vget_low_s8(x_high[c]));
            b = vmlal_high_s8(b, w.high, x_high[c]);
          }
        }
      }
#pragma GCC unroll 2
      for (int c = 0; c < C; ++c) {
#pragma GCC unroll 8
        for (int r = 0; r < 8; ++r) pairs[c][r] = vpadalq_s16(pairs[c][r], words[c][r]);
      }
    }
#pragma GCC unroll 2
    for (int c = 0; c < C; ++c) {
      const int32x4_t offset = vdupq_n_s32(g.x_sum[c * g.x_sum_stride]);
#pragma GCC unroll 4
      for (int q = 0; q < 4; ++q) {
        sum[c][q] = vaddq_s32(offset, vpaddq_s32(pairs[c][2 * q], pairs[c][2 * q + 1]));
      }
    }
  }
};

template <typename S>
constexpr Variant<I4Product> kProducts[] = {nullptr, tile_product<Wide, S, 1>,
                                            tile_product<Wide, S, 2>};

void product_i8(const I4Product& p) {
  if (p.w.scale_is_f32) {
    product(p, kProducts<F32Scale>);
  } else {
    product(p, kProducts<BF16Scale>);
  }
}

}  // namespace

constinit const Linear4Kernels linear4_neon = linear4_kernels(product_i8);

}  // namespace krait
