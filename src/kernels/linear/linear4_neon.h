// What the levels of NEON share of 4-bit weights: all but how the integers of one group are
// multiplied. Included by one file per level; as pure as linear_avx512.cc.
#pragma once

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

#include "kernels/linear/linear4_kernels.h"
#include "kernels/linear/transpose_neon.h"

namespace krait {
namespace {

/// The first n of 4 floats, then zeros.
inline float32x4_t load_first(const float* p, std::int64_t n) {
  if (n >= 4) return vld1q_f32(p);
  alignas(16) float part[4] = {};
  for (std::int64_t i = 0; i < n; ++i) part[i] = p[i];
  return vld1q_f32(part);
}
inline void store_first(float* p, float32x4_t x, std::int64_t n) {
  if (n >= 4) return vst1q_f32(p, x);
  alignas(16) float part[4];
  vst1q_f32(part, x);
  for (std::int64_t i = 0; i < n; ++i) p[i] = part[i];
}

/// Four consecutive bytes of one token, for 4 rows.
inline int8x16_t broadcast4(const std::int8_t* x) {
  std::int32_t four;
  __builtin_memcpy(&four, x, 4);
  return vreinterpretq_s8_s32(vdupq_n_s32(four));
}

/// The scales of rows 4 q to 4 q + 3 of one of the groups `together` on a line.
struct BF16Scale {
  static constexpr std::int64_t together = 2;
  static float32x4_t load4(const std::uint8_t* line, std::int64_t group, std::int64_t q) {
    const uint8x8_t bits = vld1_u8(line + group % 2 * 32 + q * 8);
    return vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(bits), 16));
  }
};
struct F32Scale {
  static constexpr std::int64_t together = 1;
  static float32x4_t load4(const std::uint8_t* line, std::int64_t, std::int64_t q) {
    return vreinterpretq_f32_u8(vld1q_u8(line + q * 16));
  }
};

/// The line of scales for group g, in the lines of 16 rows.
template <typename S>
const std::uint8_t* scales_of(const std::uint8_t* lines, std::int64_t g, std::int64_t group_lines) {
  return lines + g / S::together * (S::together * group_lines + 1) * 64;
}
/// The lines of weights of group g.
template <typename S>
const std::uint8_t* weights_of(const std::uint8_t* lines, std::int64_t g,
                               std::int64_t group_lines) {
  return scales_of<S>(lines, g, group_lines) + (1 + g % S::together * group_lines) * 64;
}

/// The four half bytes of each word's lower half, the first lowest, to the low halves of bytes.
inline uint32x4_t spread(uint32x4_t halves) {
  halves = vandq_u32(vorrq_u32(halves, vshlq_n_u32(halves, 8)), vdupq_n_u32(0x00ff00ff));
  return vandq_u32(vorrq_u32(halves, vshlq_n_u32(halves, 4)), vdupq_n_u32(0x0f0f0f0f));
}

/// Four of the 16 rows from `row` on; `rows` of them are there.
inline void pack_four(const I4Source& p, std::int64_t row, std::int64_t rows) {
  const std::int64_t words = p.cols / 8, groups = p.cols / p.group, pair = 2 * (p.group / 8);
  const std::int64_t from = rows > 0 ? row : 0;  // no address beyond the matrix
  const char* scales = static_cast<const char*>(p.scales) + from * groups * 2;
  const char* weights = static_cast<const char*>(p.words) + from * words * 4;
  for (std::int64_t g = 0; g < groups + groups % 2; ++g) {
    std::uint8_t* line = p.lines + g / 2 * (pair + 1) * 64 + g % 2 * 32 + row * 2;
    for (std::int64_t r = 0; r < 4; ++r) {
      std::uint16_t scale = g < groups ? 0x3f80 : 0;  // 1, or the unused half of the last line
      if (r < rows && g < groups) __builtin_memcpy(&scale, scales + (r * groups + g) * 2, 2);
      __builtin_memcpy(line + r * 2, &scale, 2);
    }
  }
  std::uint8_t* line = p.lines + row * 4;
  std::int64_t left = 0;  // words before the next line of scales
  for (std::int64_t w = 0; w < words; w += 4) {
    int32x4_t x[4];
    load_columns(weights, words * 4, rows, w * 4, 0x88888888u, x);
    for (int i = 0; i < 4 && w + i < words; ++i) {
      if (left == 0) {
        line += 64;
        left = pair;
      }
      const uint32x4_t word = vreinterpretq_u32_s32(x[i]);
      const uint32x4_t low = spread(vandq_u32(word, vdupq_n_u32(0xffff)));
      const uint32x4_t high = vshlq_n_u32(spread(vshrq_n_u32(word, 16)), 4);
      vst1q_u8(line, vreinterpretq_u8_u32(vorrq_u32(low, high)));
      line += 64;
      --left;
    }
  }
}

void pack(const I4Source& p) {
  for (std::int64_t row = 0; row < 16; row += 4) pack_four(p, row, p.rows - row);
}

void group_sums(const std::int8_t* x, std::int64_t cols, std::int64_t group, std::int32_t* sums) {
  for (std::int64_t g = 0; g * group < cols; ++g) {
    std::int32_t sum = 0;
    for (std::int64_t k = g * group; k < (g + 1) * group; ++k) sum += x[k];
    sums[g] = -8 * sum;
  }
}

/// Scaled sums of one token to y.
inline void store_rows(const I4Rows& w, std::int64_t tile_row, const float32x4_t (&sum)[4],
                       const float* bias, float* y) {
  for (int q = 0; q < 4; ++q) {
    const std::int64_t row = tile_row * 16 + q * 4, rest = w.rows - row;
    if (rest <= 0) break;
    store_first(y + row, bias ? vaddq_f32(sum[q], load_first(bias + row, rest)) : sum[q], rest);
  }
}

// ---- int8 x -----------------------------------------------------------------------------------

/// One quarter of a line of weights as q + 8: columns 0 to 3 and 4 to 7 of four rows.
struct Unpacked {
  explicit Unpacked(const std::uint8_t* quarter) {
    const uint8x16_t bytes = vld1q_u8(quarter);
    low = vreinterpretq_s8_u8(vandq_u8(bytes, vdupq_n_u8(15)));
    high = vreinterpretq_s8_u8(vshrq_n_u8(bytes, 4));
  }
  int8x16_t low, high;
};

/// One group of columns of 16 rows, and of some tokens.
struct Group {
  const std::uint8_t* w;  // lines
  std::int64_t lines;
  const std::int8_t* x;
  std::int64_t x_stride;
  const std::int32_t* x_sum;  // where the sum of a token begins
  std::int64_t x_sum_stride;
};

/// C tokens times one row of tiles. Level::multiply gives the sums of a group, four rows each.
template <typename Level, typename S, int C>
void tile_product(const I4Product& p, std::int64_t tile_row, std::int64_t token) {
  const std::int64_t group_lines = p.w.group / 8, groups = p.w.cols / p.w.group;
  const std::uint8_t* lines = p.w.lines + tile_row * p.w.stride;
  float32x4_t y[C][4];
#pragma GCC unroll 6
  for (int c = 0; c < C; ++c) {
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) y[c][q] = vdupq_n_f32(0);
  }
  for (std::int64_t g = 0; g < groups; ++g) {
    int32x4_t sum[C][4];
    Level::template multiply<C>({.w = weights_of<S>(lines, g, group_lines),
                                 .lines = group_lines,
                                 .x = p.x + token * p.x_stride + g * p.w.group,
                                 .x_stride = p.x_stride,
                                 .x_sum = p.x_sum + token * groups + g,
                                 .x_sum_stride = groups},
                                sum);
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) {
      const float32x4_t scale = S::load4(scales_of<S>(lines, g, group_lines), g, q);
#pragma GCC unroll 6
      for (int c = 0; c < C; ++c) y[c][q] = vfmaq_f32(y[c][q], vcvtq_f32_s32(sum[c][q]), scale);
    }
  }
#pragma GCC unroll 6
  for (int c = 0; c < C; ++c) {
    const float32x4_t x_scale = vdupq_n_f32(p.x_scale[(token + c) * p.x_scale_step]);
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) y[c][q] = vmulq_f32(y[c][q], x_scale);
    store_rows(p.w, tile_row, y[c], p.bias, p.y + (token + c) * p.y_stride);
  }
}

// ---- float x ----------------------------------------------------------------------------------

/// Column k of a line, in four rows: where it lies in their words.
template <int k>
[[gnu::always_inline]] inline float32x4_t column(uint32x4_t words) {
  constexpr int shift = k < 4 ? 8 * k : 8 * (k - 4) + 4;
  if constexpr (shift > 0) words = vshrq_n_u32(words, shift);
  return vsubq_f32(vcvtq_f32_u32(vandq_u32(words, vdupq_n_u32(15))), vdupq_n_f32(8));
}

/// Adds columns k to 7 of a line of N groups; x_four holds the four of x that k is one of.
template <int k, int N, int C>
[[gnu::always_inline]] inline void add_columns(float32x4_t (&sum)[N][C][4],
                                               uint32x4_t (&words)[N][4], const float* x,
                                               std::int64_t x_stride, std::int64_t group,
                                               float32x4_t (&x_four)[N][C]) {
  if constexpr (k < 8) {
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) {
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) {
        if constexpr (k % 4 == 0) x_four[n][c] = vld1q_f32(x + c * x_stride + n * group + k);
      }
#pragma GCC unroll 4
      for (int q = 0; q < 4; ++q) {
        asm("" : "+w"(words[n][q]));  // or g++ unpacks all columns first, into memory
        const float32x4_t w = column<k>(words[n][q]);
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) {
          sum[n][c][q] = vfmaq_laneq_f32(sum[n][c][q], w, x_four[n][c], k % 4);
        }
      }
    }
    add_columns<k + 1, N, C>(sum, words, x, x_stride, group, x_four);
  }
}

/// y += the sums of groups g to g + N - 1, each a chain of additions, times their scales.
template <typename S, int N, int C>
[[gnu::always_inline]] inline void add_groups(const I4FloatProduct& p, const std::uint8_t* lines,
                                              const float* x, std::int64_t g,
                                              float32x4_t (&y)[C][4]) {
  const std::int64_t group_lines = p.w.group / 8;
  float32x4_t sum[N][C][4];
  const std::uint8_t* w[N];
#pragma GCC unroll 4
  for (int n = 0; n < N; ++n) {
    w[n] = weights_of<S>(lines, g + n, group_lines);
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) {
#pragma GCC unroll 4
      for (int q = 0; q < 4; ++q) sum[n][c][q] = vdupq_n_f32(0);
    }
  }
  for (std::int64_t i = 0; i < group_lines; ++i) {
    uint32x4_t words[N][4];
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) {
      __builtin_prefetch(w[n] + i * 64 + 4096);
#pragma GCC unroll 4
      for (int q = 0; q < 4; ++q) {
        words[n][q] = vreinterpretq_u32_u8(vld1q_u8(w[n] + i * 64 + q * 16));
      }
    }
    float32x4_t x_four[N][C];
    add_columns<0, N, C>(sum, words, x + g * p.w.group + i * 8, p.x_stride, p.w.group, x_four);
  }
#pragma GCC unroll 4
  for (int n = 0; n < N; ++n) {
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) {
      const float32x4_t scale = S::load4(scales_of<S>(lines, g + n, group_lines), g + n, q);
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) y[c][q] = vfmaq_f32(y[c][q], sum[n][c][q], scale);
    }
  }
}

/// C tokens times one row of tiles, N groups at a time.
template <typename S, int C, int N>
void float_tile_product(const I4FloatProduct& p, std::int64_t tile_row, std::int64_t token) {
  const std::int64_t groups = p.w.cols / p.w.group;
  const std::uint8_t* lines = p.w.lines + tile_row * p.w.stride;
  const float* x = p.x + token * p.x_stride;
  float32x4_t y[C][4];
#pragma GCC unroll 4
  for (int c = 0; c < C; ++c) {
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) y[c][q] = vdupq_n_f32(0);
  }
  std::int64_t g = 0;
  for (; g + N <= groups; g += N) add_groups<S, N, C>(p, lines, x, g, y);
  if constexpr (N > 1) {
    for (; g < groups; ++g) add_groups<S, 1, C>(p, lines, x, g, y);
  }
#pragma GCC unroll 4
  for (int c = 0; c < C; ++c) {
    store_rows(p.w, tile_row, y[c], p.bias, p.y + (token + c) * p.y_stride);
  }
}

// ---- blocks -----------------------------------------------------------------------------------

template <typename P>
using Variant = void (*)(const P&, std::int64_t tile_row, std::int64_t token);

template <typename S>
constexpr Variant<I4FloatProduct> kFloatProducts[] = {
    nullptr, float_tile_product<S, 1, 2>, float_tile_product<S, 2, 1>, float_tile_product<S, 3, 1>,
    float_tile_product<S, 4, 1>};

/// variants[n] takes n tokens.
template <typename P, std::size_t N>
inline void product(const P& p, const Variant<P> (&variants)[N]) {
  constexpr auto most = static_cast<std::int64_t>(N) - 1;
  const std::int64_t blocks = (p.tokens + most - 1) / most;
  for (std::int64_t i = 0; i * 16 < p.w.rows; ++i) {
    for (std::int64_t b = 0, token = 0; b < blocks; ++b) {  // blocks of equal size, or one more
      const std::int64_t end = p.tokens * (b + 1) / blocks;
      variants[end - token](p, i, token);
      token = end;
    }
  }
}

void product_f32(const I4FloatProduct& p) {
  if (p.w.scale_is_f32) {
    product(p, kFloatProducts<F32Scale>);
  } else {
    product(p, kFloatProducts<BF16Scale>);
  }
}

/// The table of a level with a product of integers of its own.
constexpr Linear4Kernels linear4_kernels(void (*product_i8)(const I4Product&)) {
  return {.group_sums = group_sums, .pack = pack, .i8 = product_i8, .f32 = product_f32};
}

}  // namespace
}  // namespace krait
