// What the levels of NEON share: all of linear_kernels.h but the product of int8. Included by one
// file per level; as pure as linear_avx512.cc.
#pragma once

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

#include "kernels/linear/linear_kernels.h"
#include "kernels/linear/transpose_neon.h"

namespace krait {
namespace {

inline std::int64_t smaller(std::int64_t a, std::int64_t b) { return a < b ? a : b; }
inline std::int64_t larger(std::int64_t a, std::int64_t b) { return a < b ? b : a; }

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

// ---- int8 -------------------------------------------------------------------------------------

void prepare_i8(const std::int8_t* x, std::int64_t cols, std::uint8_t* out, std::int64_t padded) {
  __builtin_memcpy(out, x, static_cast<std::size_t>(cols));
  __builtin_memset(out + cols, 0, static_cast<std::size_t>(padded - cols));
}

void pack_i8(const I8Rows& p) {
  const std::int64_t cols4 = (p.cols + 3) / 4;
  for (std::int64_t row = 0; row < 16; row += 4) {
    int32x4_t sum = vdupq_n_s32(0);
    for (std::int64_t j = 0; j < cols4; j += 4) {
      int32x4_t x[4];
      load_columns(p.q + (row < p.rows ? row * p.cols : 0), p.cols, p.rows - row, 4 * j, 0, x);
      for (int i = 0; i < 4; ++i) {
        const int8x16_t bytes = vreinterpretq_s8_s32(x[i]);
        if (i < cols4 - j) vst1q_s8(p.tiles + (j + i) * 64 + row * 4, bytes);
        sum = vpadalq_s16(sum, vpaddlq_s8(bytes));
      }
    }
    vst1q_s32(p.row_sum + row, sum);
  }
}

/// Four consecutive bytes of one token, for 4 rows.
inline int8x16_t broadcast4(const std::int8_t* x) {
  std::int32_t four;
  __builtin_memcpy(&four, x, 4);
  return vreinterpretq_s8_s32(vdupq_n_s32(four));
}

/// y of one token from the sums of a row of tiles, 4 rows each.
inline void store_rows(const I8Product& p, std::int64_t tile_row, std::int64_t token,
                       const int32x4_t (&sum)[4]) {
  const float32x4_t x_scale = vdupq_n_f32(p.x_scale[token * p.x_scale_step]);
  for (int i = 0; i < 4; ++i) {
    const std::int64_t row = tile_row * 16 + i * 4, rest = p.rows - row;
    if (rest <= 0) break;
    const float32x4_t w_scale =
        p.w_scale_step ? load_first(p.w_scale + row, rest) : vdupq_n_f32(*p.w_scale);
    float32x4_t y = vmulq_f32(vcvtq_f32_s32(sum[i]), vmulq_f32(x_scale, w_scale));
    if (p.bias) y = vaddq_f32(y, load_first(p.bias + row, rest));
    store_first(p.y + token * p.y_stride + row, y, rest);
  }
}

/// Some tokens times one row of tiles, while bringing `next` closer at next_step bytes per tile.
using TileProduct = void (*)(const I8Product&, std::int64_t tile_row, std::int64_t token,
                             const std::int8_t* next, std::int64_t next_step);

/// variants[n] takes n tokens, up to `most`.
inline void product_in_blocks(const I8Product& p, const TileProduct* variants, std::int64_t most) {
  const std::int64_t blocks = (p.tokens + most - 1) / most;
  for (std::int64_t i = 0; i * 16 < p.rows; ++i) {
    const std::int8_t* tiles = p.tiles + i * p.cols4 * 64;
    for (std::int64_t b = 0, token = 0; b < blocks; ++b) {  // blocks of equal size, or one more
      const std::int64_t end = p.tokens * (b + 1) / blocks;
      // One block reads a single stream: a fixed distance ahead. Several share the next row.
      const std::int8_t* next =
          blocks == 1 ? tiles + 2048 : tiles + (blocks + b) * p.cols4 * 64 / blocks;
      variants[end - token](p, i, token, next, 64 / blocks);
      token = end;
    }
  }
}

/// A column of a tile row is the same byte in each of its 16 words.
void product_outliers(const I8Outliers& p) {
  for (std::int64_t row = 0; row < p.rows; row += 16) {
    const std::int8_t* tiles = p.tiles + row * p.cols4 * 4;
    float32x4_t o[4] = {};
    for (std::int64_t i = 0; i < p.count; ++i) {
      const std::int64_t k = p.outliers[i].column;
      const int32x4_t up = vdupq_n_s32(static_cast<std::int32_t>(24 - k % 4 * 8));
      const float32x4_t value = vdupq_n_f32(p.outliers[i].value);
#pragma GCC unroll 4
      for (int q = 0; q < 4; ++q) {
        const int32x4_t words = vreinterpretq_s32_s8(vld1q_s8(tiles + k / 4 * 64 + q * 16));
        const int32x4_t w = vshrq_n_s32(vshlq_s32(words, up), 24);
        o[q] = vfmaq_f32(o[q], value, vcvtq_f32_s32(w));
      }
    }
    for (std::int64_t q = 0; q < 4 && row + q * 4 < p.rows; ++q) {
      const std::int64_t r = row + q * 4, rest = p.rows - r;
      const float32x4_t w_scale =
          p.w_scale_step ? load_first(p.w_scale + r, rest) : vdupq_n_f32(*p.w_scale);
      store_first(p.y + r, vfmaq_f32(load_first(p.y + r, rest), o[q], w_scale), rest);
    }
  }
}

// ---- float ------------------------------------------------------------------------------------

struct F32 {
  static constexpr std::int64_t size = 4;
  static float32x4_t load4(const unsigned char* w) { return vreinterpretq_f32_u8(vld1q_u8(w)); }
};
struct F16 {
  static constexpr std::int64_t size = 2;
  static float32x4_t load4(const unsigned char* w) {
    return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(w)));
  }
};
struct BF16 {
  static constexpr std::int64_t size = 2;
  static float32x4_t load4(const unsigned char* w) {
    return vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(vld1_u8(w)), 16));
  }
};

/// The tree of linear.h over 16 lanes.
inline float sum_lanes(float32x4_t a, float32x4_t b, float32x4_t c, float32x4_t d) {
  const float32x4_t four = vaddq_f32(vaddq_f32(a, c), vaddq_f32(b, d));
  return vpadds_f32(vadd_f32(vget_low_f32(four), vget_high_f32(four)));
}

/// Columns [begin, end) of a product, a multiple of 16 but for the last. What the lanes hold after
/// one slice waits in `lanes` for the next.
struct Slice {
  std::int64_t begin, end;
  float* lanes;  // 16 for each pair of the block at hand
};

/// sum += x w for 16 columns of R rows and C tokens.
template <typename W, int R, int C>
[[gnu::always_inline]] inline void add_columns(float32x4_t (&sum)[4][R][C], const unsigned char* w,
                                               std::int64_t row_bytes, const float* x,
                                               std::int64_t x_stride) {
#pragma GCC unroll 4
  for (int h = 0; h < 4; ++h) {
    float32x4_t w_k[R];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) w_k[r] = W::load4(w + r * row_bytes + h * 4 * W::size);
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) {
      const float32x4_t x_k = vld1q_f32(x + c * x_stride + h * 4);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) sum[h][r][c] = vfmaq_f32(sum[h][r][c], x_k, w_k[r]);
    }
  }
}

// What one thread reads while a line is on its way from memory: rows are asked for that early.
constexpr std::int64_t kAhead = 2048;

/// R rows times C tokens, each pair with its own 16 lanes in four registers.
template <typename W, int R, int C>
void row_product(const FloatProduct& p, std::int64_t row, std::int64_t token, const Slice& slice) {
  const std::int64_t row_bytes = p.cols * W::size;
  const unsigned char* w = static_cast<const unsigned char*>(p.w) + row * row_bytes;
  const std::int64_t ahead = larger(R * row_bytes, kAhead / (R * row_bytes) * (R * row_bytes));
  const float* x = p.x + token * p.x_stride;
  float32x4_t sum[4][R][C];
#pragma GCC unroll 4
  for (int h = 0; h < 4; ++h) {
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) {
        sum[h][r][c] =
            slice.begin == 0 ? vdupq_n_f32(0) : vld1q_f32(slice.lanes + (r * C + c) * 16 + h * 4);
      }
    }
  }
  std::int64_t k = slice.begin;
  for (; k + 16 <= slice.end; k += 16) {
    if constexpr (R > 1) {  // the next rows arrive in the meantime
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) {
        __builtin_prefetch(w + ahead + r * row_bytes + k * W::size, 0, 2);
      }
    }
    add_columns<W, R, C>(sum, w + k * W::size, row_bytes, x + k, p.x_stride);
  }
  if (slice.end < p.cols) {
#pragma GCC unroll 4
    for (int h = 0; h < 4; ++h) {
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) {
          vst1q_f32(slice.lanes + (r * C + c) * 16 + h * 4, sum[h][r][c]);
        }
      }
    }
    return;
  }
  if (k < p.cols) {
    const auto rest = static_cast<std::size_t>(p.cols - k);
    alignas(16) unsigned char w_rest[R][16 * W::size] = {};
    alignas(16) float x_rest[C][16] = {};
    for (int r = 0; r < R; ++r) {
      __builtin_memcpy(w_rest[r], w + r * row_bytes + k * W::size, rest * W::size);
    }
    for (int c = 0; c < C; ++c) __builtin_memcpy(x_rest[c], x + c * p.x_stride + k, rest * 4);
    add_columns<W, R, C>(sum, w_rest[0], 16 * W::size, x_rest[0], 16);
  }
#pragma GCC unroll 4
  for (int c = 0; c < C; ++c) {
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      const float total = sum_lanes(sum[0][r][c], sum[1][r][c], sum[2][r][c], sum[3][r][c]);
      p.y[(token + c) * p.y_stride + row + r] = p.bias ? total + p.bias[row + r] : total;
    }
  }
}

constexpr std::int64_t kFloatTokens = 2;  // 4 x 3 x 2 sums, 3 weights and one x: 28 registers

template <typename W, int R>
constexpr void (*kRowProduct[kFloatTokens + 1])(const FloatProduct&, std::int64_t row,
                                                std::int64_t token, const Slice&) = {
    nullptr, row_product<W, R, 1>, row_product<W, R, 2>};

/// Many tokens take long rows in slices: those of a few rows stay in the first-level cache while a
/// block of tokens comes from the second. The lanes between two slices cost less.
template <typename W>
void product_float(const FloatProduct& p) {
  constexpr std::int64_t kChunkRows = 6, kChunkTokens = 16, kDepth = 1024;
  alignas(64) float lanes[kChunkRows * kChunkTokens * 16];
  const bool sliced = p.tokens > kFloatTokens;
  const std::int64_t slices = sliced ? (p.cols + kDepth - 1) / kDepth : 1;
  const std::int64_t depth = ((p.cols + slices - 1) / slices + 15) / 16 * 16;
  const std::int64_t rows = sliced ? kChunkRows : p.rows, tokens = sliced ? kChunkTokens : p.tokens;
  for (std::int64_t row_begin = 0; row_begin < p.rows; row_begin += rows) {
    const std::int64_t row_end = smaller(p.rows, row_begin + rows);
    for (std::int64_t token_begin = 0; token_begin < p.tokens; token_begin += tokens) {
      const std::int64_t token_end = smaller(p.tokens, token_begin + tokens);
      for (std::int64_t k = 0; k < p.cols; k += depth) {
        Slice slice{k, smaller(p.cols, k + depth), lanes};
        for (std::int64_t token = token_begin; token < token_end; token += kFloatTokens) {
          const std::int64_t pair = smaller(kFloatTokens, token_end - token);
          std::int64_t row = row_begin;
          for (; row + 3 <= row_end; row += 3) {
            kRowProduct<W, 3>[pair](p, row, token, slice);
            if (sliced) slice.lanes += 3 * pair * 16;
          }
          for (; row < row_end; ++row) {
            kRowProduct<W, 1>[pair](p, row, token, slice);
            if (sliced) slice.lanes += pair * 16;
          }
        }
      }
    }
  }
}

/// The table of a level with a product of int8 of its own.
constexpr LinearKernels linear_kernels(void (*product_i8)(const I8Product&)) {
  return {.prepare_i8 = prepare_i8,
          .pack_i8 = pack_i8,
          .i8 = product_i8,
          .i8_outliers = product_outliers,
          .f32 = product_float<F32>,
          .f16 = product_float<F16>,
          .bf16 = product_float<BF16>};
}

}  // namespace
}  // namespace krait
