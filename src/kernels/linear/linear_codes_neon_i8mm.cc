// Codes with NEON and int8 matrix products: smmla multiplies 8 columns of two rows by those of two
// tokens. One token alone is multiplied by sdot.
#include "kernels/linear/linear_codes_dotprod_neon.h"

namespace krait {
namespace {

struct Pairs {
  static constexpr int kTokens = 6;  // 8 x 3 sums, 3 pairs of x, and two rows of two tiles

  template <int C>
  static void multiply(const GroupBlock& b) {
    if constexpr (C == 1) {
      dot_product<1>(b);
      return;
    }
    constexpr int P = (C + 1) / 2;  // an odd last token is multiplied twice
    const auto token_at = [&](int c) { return b.x + (c < C ? c : C - 1) * b.x_stride; };
    int32x4_t both[P][8];  // two rows by two tokens each
#pragma GCC unroll 3
    for (int c = 0; c < P; ++c) {
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i) both[c][i] = vdupq_n_s32(0);
    }
    for (std::int64_t k = 0; k < b.columns; k += 8) {
      int8x16_t pair[P];
#pragma GCC unroll 3
      for (int c = 0; c < P; ++c) {
        pair[c] = vcombine_s8(vld1_s8(token_at(2 * c) + k), vld1_s8(token_at(2 * c + 1) + k));
      }
#pragma GCC unroll 4
      for (int q = 0; q < 4; ++q) {
        const std::int8_t* tile = b.tiles + k * 16 + q * 16;
        const int32x4_t low = vreinterpretq_s32_s8(vld1q_s8(tile));
        const int32x4_t high = vreinterpretq_s32_s8(vld1q_s8(tile + 64));
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
      int32x4_t sum[4];
#pragma GCC unroll 4
      for (int q = 0; q < 4; ++q) {
        const int32x4_t a = both[c / 2][2 * q], d = both[c / 2][2 * q + 1];
        sum[q] = c % 2 ? vuzp2q_s32(a, d) : vuzp1q_s32(a, d);
      }
      add_scaled(b, sum, b.y + c * 16);
    }
  }
};

}  // namespace

constinit const LinearCodesKernels linear_codes_neon_i8mm = {.i8 = product_of_decoded<Neon<Pairs>>};

}  // namespace krait
