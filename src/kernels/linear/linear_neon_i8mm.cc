// NEON with int8 matrix products: smmla multiplies 8 columns of two rows by those of two tokens.
// One token alone is multiplied by sdot.
#include "kernels/linear/dotprod_neon.h"

namespace krait {
namespace {

/// 4 q .. 4 q + 3: their columns of two tiles side by side, two rows each.
struct Rows {
  int8x16_t low, high;
};
inline Rows side_by_side(int8x16_t tile, int8x16_t next) {
  const int32x4_t a = vreinterpretq_s32_s8(tile), b = vreinterpretq_s32_s8(next);
  return {vreinterpretq_s8_s32(vzip1q_s32(a, b)), vreinterpretq_s8_s32(vzip2q_s32(a, b))};
}

/// C tokens in pairs; an odd last one is multiplied twice.
template <int C>
void pair_product(const I8Product& p, std::int64_t tile_row, std::int64_t token,
                  const std::int8_t* next, std::int64_t next_step) {
  constexpr int P = (C + 1) / 2;
  const std::int8_t* w = p.tiles + tile_row * p.cols4 * 64;
  const std::int8_t* x = reinterpret_cast<const std::int8_t*>(p.x + token * p.x_stride);
  const auto token_at = [&](int c) { return x + (c < C ? c : C - 1) * p.x_stride; };
  int32x4_t sum[8][P];  // two rows by two tokens each
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
#pragma GCC unroll 3
    for (int c = 0; c < P; ++c) sum[i][c] = vdupq_n_s32(0);
  }
  const auto add = [&](const std::int8_t* tile, const int8x16_t* last, const int8x16_t(&pair)[P])
      __attribute__((always_inline)) {
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) {
      const Rows rows =
          side_by_side(vld1q_s8(tile + q * 16), last ? *last : vld1q_s8(tile + 64 + q * 16));
#pragma GCC unroll 3
      for (int c = 0; c < P; ++c) {
        sum[2 * q][c] = vmmlaq_s32(sum[2 * q][c], rows.low, pair[c]);
        sum[2 * q + 1][c] = vmmlaq_s32(sum[2 * q + 1][c], rows.high, pair[c]);
      }
    }
  };
  std::int64_t j = 0;
  for (; j + 2 <= p.cols4; j += 2) {
    __builtin_prefetch(next);
    next += 2 * next_step;
    int8x16_t pair[P];
#pragma GCC unroll 3
    for (int c = 0; c < P; ++c) {
      pair[c] = vcombine_s8(vld1_s8(token_at(2 * c) + j * 4), vld1_s8(token_at(2 * c + 1) + j * 4));
    }
    add(w + j * 64, nullptr, pair);
  }
  if (j < p.cols4) {
    const int8x16_t zeros = vdupq_n_s8(0);
    int8x16_t pair[P];
    for (int c = 0; c < P; ++c) {
      alignas(16) std::int8_t bytes[16] = {};
      __builtin_memcpy(bytes, token_at(2 * c) + j * 4, 4);
      __builtin_memcpy(bytes + 8, token_at(2 * c + 1) + j * 4, 4);
      pair[c] = vld1q_s8(bytes);
    }
    add(w + j * 64, &zeros, pair);
  }
#pragma GCC unroll 3
  for (int c = 0; c < P; ++c) {
    const int32x4_t first[4] = {vuzp1q_s32(sum[0][c], sum[1][c]), vuzp1q_s32(sum[2][c], sum[3][c]),
                                vuzp1q_s32(sum[4][c], sum[5][c]), vuzp1q_s32(sum[6][c], sum[7][c])};
    store_rows(p, tile_row, token + 2 * c, first);
    if (2 * c + 1 == C) break;
    const int32x4_t second[4] = {vuzp2q_s32(sum[0][c], sum[1][c]), vuzp2q_s32(sum[2][c], sum[3][c]),
                                 vuzp2q_s32(sum[4][c], sum[5][c]),
                                 vuzp2q_s32(sum[6][c], sum[7][c])};
    store_rows(p, tile_row, token + 2 * c + 1, second);
  }
}

constexpr std::int64_t kTokens = 6;  // 8 x 3 sums, 3 pairs of x, and two rows of two tiles
constexpr TileProduct kTileProducts[kTokens + 1] = {
    nullptr,         dot_product<1>,  pair_product<2>, pair_product<3>,
    pair_product<4>, pair_product<5>, pair_product<6>};

void product_i8(const I8Product& p) { product_in_blocks(p, kTileProducts, kTokens); }

}  // namespace

constinit const LinearKernels linear_neon_i8mm = linear_kernels(product_i8);

}  // namespace krait
