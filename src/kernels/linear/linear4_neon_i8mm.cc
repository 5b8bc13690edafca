// 4-bit weights with NEON and int8 matrix products: the two halves of a line, side by side, are 8
// columns of two rows. One token alone is multiplied by sdot.
#include "kernels/linear/dotprod4_neon.h"

namespace krait {
namespace {

struct Pairs {
  template <int C>
  [[gnu::always_inline]] static void multiply(const Group& g, int32x4_t (&sum)[C][4]) {
    constexpr int P = (C + 1) / 2;  // an odd last token is multiplied twice
    int32x4_t both[P][8];           // two rows by two tokens each
    const std::int8_t* x[2 * P];
#pragma GCC unroll 3
    for (int c = 0; c < P; ++c) {
      const std::int64_t last = 2 * c + 1 < C ? 2 * c + 1 : 2 * c;
      x[2 * c] = g.x + 2 * c * g.x_stride;
      x[2 * c + 1] = g.x + last * g.x_stride;
      const std::int32_t first_sum = g.x_sum[2 * c * g.x_sum_stride];
      const int32x4_t offset =
          vzip1q_s32(vdupq_n_s32(first_sum), vdupq_n_s32(g.x_sum[last * g.x_sum_stride]));
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i) both[c][i] = offset;
    }
    for (std::int64_t i = 0; i < g.lines; ++i) {
      __builtin_prefetch(g.w + i * 64 + 2048);
      int8x16_t pair[P];
#pragma GCC unroll 3
      for (int c = 0; c < P; ++c) {
        pair[c] = vcombine_s8(vld1_s8(x[2 * c] + i * 8), vld1_s8(x[2 * c + 1] + i * 8));
      }
#pragma GCC unroll 4
      for (int q = 0; q < 4; ++q) {
        const Unpacked w(g.w + i * 64 + q * 16);
        const int32x4_t low = vreinterpretq_s32_s8(w.low), high = vreinterpretq_s32_s8(w.high);
        const int8x16_t first = vreinterpretq_s8_s32(vzip1q_s32(low, high));
        const int8x16_t second = vreinterpretq_s8_s32(vzip2q_s32(low, high));
#pragma GCC unroll 3
        for (int c = 0; c < P; ++c) {
          both[c][2 * q] = vmmlaq_s32(both[c][2 * q], first, pair[c]);
          both[c][2 * q + 1] = vmmlaq_s32(both[c][2 * q + 1], second, pair[c]);
        }
      }
    }
#pragma GCC unroll 6
    for (int c = 0; c < C; ++c) {
#pragma GCC unroll 4
      for (int q = 0; q < 4; ++q) {
        const int32x4_t a = both[c / 2][2 * q], b = both[c / 2][2 * q + 1];
        sum[c][q] = c % 2 ? vuzp2q_s32(a, b) : vuzp1q_s32(a, b);
      }
    }
  }
};

template <typename S>
constexpr Variant<I4Product> kProducts[] = {nullptr,
                                            tile_product<Dot, S, 1>,
                                            tile_product<Pairs, S, 2>,
                                            tile_product<Pairs, S, 3>,
                                            tile_product<Pairs, S, 4>,
                                            tile_product<Pairs, S, 5>,
                                            tile_product<Pairs, S, 6>};

void product_i8(const I4Product& p) {
  if (p.w.scale_is_f32) {
    product(p, kProducts<F32Scale>);
  } else {
    product(p, kProducts<BF16Scale>);
  }
}

}  // namespace

constinit const Linear4Kernels linear4_neon_i8mm = linear4_kernels(product_i8);

}  // namespace krait
