// What the levels with registers of 256 bits share: all of linear_kernels.h but how bytes are
// multiplied. Included by one file per level; as pure as linear_avx512.cc.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/linear/linear_kernels.h"
#include "kernels/linear/transpose_avx2.h"

namespace krait {
namespace {

std::int64_t smaller(std::int64_t a, std::int64_t b) { return a < b ? a : b; }
std::int64_t larger(std::int64_t a, std::int64_t b) { return a < b ? b : a; }

/// All ones in the first n of 8 lanes.
__m256i first(std::int64_t n) {
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<std::int32_t>(n < 8 ? n : 8)), lanes);
}

// ---- int8 -------------------------------------------------------------------------------------

__m256i load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }

void pack_i8(const I8Rows& p) {
  const __m256i ones8 = _mm256_set1_epi8(1), ones16 = _mm256_set1_epi16(1);
  const std::int64_t cols4 = (p.cols + 3) / 4;
  for (std::int64_t half = 0; half < 16; half += 8) {
    __m256i sum = _mm256_setzero_si256();
    for (std::int64_t j = 0; j < cols4; j += 8) {
      __m256i x[8];
      load_columns(p.q + half * p.cols, p.cols, p.rows - half, 4 * j, 0, x);
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i) {
        if (i < cols4 - j) {
          _mm256_storeu_si256(reinterpret_cast<__m256i*>(p.tiles + (j + i) * 64 + half * 4), x[i]);
        }
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(ones8, x[i]), ones16));
      }
    }
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p.row_sum + half), sum);
  }
}

/// Four consecutive bytes of one token, for 8 rows.
__m256i broadcast4(const std::uint8_t* x) {
  std::int32_t four;
  __builtin_memcpy(&four, x, 4);
  return _mm256_set1_epi32(four);
}

/// Into the first-level cache.
void prefetch_l1(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }
/// Into the second-level cache.
void prefetch_l2(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T1); }

/// C tokens times one row of tiles, in halves of 8 rows, while bringing `next` closer at next_step
/// bytes per tile. The columns are taken U tiles at a time into sums of their own.
template <typename Dot, int C, int U>
void tile_product(const I8Product& p, std::int64_t tile_row, std::int64_t token,
                  const std::int8_t* next, std::int64_t next_step) {
  const std::int8_t* w = p.tiles + tile_row * p.cols4 * 64;
  const std::uint8_t* x = p.x + token * p.x_stride;
  __m256i sum[U][2][C];
#pragma GCC unroll 8
  for (int u = 0; u < U; ++u) {
#pragma GCC unroll 8
    for (int h = 0; h < 2; ++h) {
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) sum[u][h][c] = _mm256_setzero_si256();
    }
  }
  const auto add_tile = [&](std::int64_t j, int u) __attribute__((always_inline)) {
    const __m256i tile[2] = {load(w + j * 64), load(w + j * 64 + 32)};
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) {
      const Dot dot(broadcast4(x + c * p.x_stride + j * 4));
#pragma GCC unroll 8
      for (int h = 0; h < 2; ++h) sum[u][h][c] = dot.add(sum[u][h][c], tile[h]);
    }
  };
  std::int64_t j = 0;
  for (; j + U <= p.cols4; j += U) {
#pragma GCC unroll 8
    for (int u = 0; u < U; ++u) {
      prefetch_l1(next);
      next += next_step;
      add_tile(j + u, u);
    }
  }
  if constexpr (U > 1) {
    for (; j < p.cols4; ++j) add_tile(j, 0);
  }
#pragma GCC unroll 8
  for (int h = 0; h < 2; ++h) {
    const std::int64_t row = tile_row * 16 + h * 8;
    if (row >= p.rows) break;
    const __m256i rows = first(p.rows - row);
    const __m256 w_scale =
        p.w_scale_step ? _mm256_maskload_ps(p.w_scale + row, rows) : _mm256_set1_ps(*p.w_scale);
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) {
      __m256i total = sum[0][h][c];
#pragma GCC unroll 8
      for (int u = 1; u < U; ++u) total = _mm256_add_epi32(total, sum[u][h][c]);
      total = Dot::exact(total, p.row_sum + row);
      const __m256 x_scale = _mm256_set1_ps(p.x_scale[(token + c) * p.x_scale_step]);
      __m256 y = _mm256_mul_ps(_mm256_cvtepi32_ps(total), _mm256_mul_ps(x_scale, w_scale));
      if (p.bias) y = _mm256_add_ps(y, _mm256_maskload_ps(p.bias + row, rows));
      _mm256_maskstore_ps(p.y + (token + c) * p.y_stride + row, rows, y);
    }
  }
}

using TileProduct = void (*)(const I8Product&, std::int64_t tile_row, std::int64_t token,
                             const std::int8_t* next, std::int64_t next_step);

/// variants[n] takes n tokens.
template <std::size_t N>
void product_in_blocks(const I8Product& p, const TileProduct (&variants)[N]) {
  constexpr auto most = static_cast<std::int64_t>(N) - 1;
  const std::int64_t blocks = (p.tokens + most - 1) / most;
  for (std::int64_t i = 0; i * 16 < p.rows; ++i) {
    const std::int8_t* tiles = p.tiles + i * p.cols4 * 64;
    for (std::int64_t b = 0, token = 0; b < blocks; ++b) {  // blocks of equal size, or one more
      const std::int64_t end = p.tokens * (b + 1) / blocks;
      // One block reads a single stream: a fixed distance ahead. Several share the next row.
      const std::int8_t* next =
          blocks == 1 ? tiles + 4096 : tiles + (blocks + b) * p.cols4 * 64 / blocks;
      variants[end - token](p, i, token, next, 64 / blocks);
      token = end;
    }
  }
}

/// A column of a tile row is the same byte in each of the 16 words of a line.
void product_outliers(const I8Outliers& p) {
  for (std::int64_t row = 0; row < p.rows; row += 8) {  // half a tile row
    const std::int8_t* tiles = p.tiles + row / 16 * p.cols4 * 64 + row % 16 * 4;
    __m256 o = _mm256_setzero_ps();
    for (std::int64_t i = 0; i < p.count; ++i) {
      const std::int64_t k = p.outliers[i].column;
      const __m128i up = _mm_cvtsi32_si128(static_cast<int>(24 - k % 4 * 8));
      const __m256i q = _mm256_srai_epi32(_mm256_sll_epi32(load(tiles + k / 4 * 64), up), 24);
      o = _mm256_fmadd_ps(_mm256_set1_ps(p.outliers[i].value), _mm256_cvtepi32_ps(q), o);
    }
    const __m256i rows = first(p.rows - row);
    const __m256 w_scale =
        p.w_scale_step ? _mm256_maskload_ps(p.w_scale + row, rows) : _mm256_set1_ps(*p.w_scale);
    const __m256 y = _mm256_maskload_ps(p.y + row, rows);
    _mm256_maskstore_ps(p.y + row, rows, _mm256_fmadd_ps(o, w_scale, y));
  }
}

// ---- float ------------------------------------------------------------------------------------

struct F32 {
  static constexpr std::int64_t size = 4;
  static __m256 load8(const unsigned char* w) {
    return _mm256_loadu_ps(reinterpret_cast<const float*>(w));
  }
};
struct F16 {
  static constexpr std::int64_t size = 2;
  static __m256 load8(const unsigned char* w) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(w)));
  }
};
struct BF16 {
  static constexpr std::int64_t size = 2;
  static __m256 load8(const unsigned char* w) {
    const __m128i h = _mm_loadu_si128(reinterpret_cast<const __m128i*>(w));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
  }
};

/// The tree of linear.h over lanes 0..7 and 8..15.
float sum_lanes(__m256 low, __m256 high) {
  const __m256 eight = _mm256_add_ps(low, high);
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

/// Columns [begin, end) of a product, a multiple of 16 but for the last. What the lanes hold after
/// one slice waits in `lanes` for the next.
struct Slice {
  std::int64_t begin, end;
  float* lanes;  // 16 for each pair of the block at hand
};

// What one thread reads while a line is on its way from memory: rows are asked for that early.
constexpr std::int64_t kAhead = 4096;

/// R rows times C tokens, each pair with its own 16 lanes in two registers.
template <typename W, int R, int C>
void row_product(const FloatProduct& p, std::int64_t row, std::int64_t token, const Slice& slice) {
  const std::int64_t row_bytes = p.cols * W::size;
  const unsigned char* w = static_cast<const unsigned char*>(p.w) + row * row_bytes;
  const std::int64_t ahead = larger(R * row_bytes, kAhead / (R * row_bytes) * (R * row_bytes));
  const float* x = p.x + token * p.x_stride;
  __m256 sum[2][R][C];
#pragma GCC unroll 8
  for (int h = 0; h < 2; ++h) {
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) {
        sum[h][r][c] = slice.begin == 0 ? _mm256_setzero_ps()
                                        : _mm256_loadu_ps(slice.lanes + (r * C + c) * 16 + h * 8);
      }
    }
  }
  std::int64_t k = slice.begin;
  for (; k + 16 <= slice.end; k += 16) {
    if constexpr (R > 1) {  // the next rows arrive in the meantime
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) prefetch_l2(w + ahead + r * row_bytes + k * W::size);
    }
#pragma GCC unroll 8
    for (int h = 0; h < 2; ++h) {
      __m256 w_k[R];
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) w_k[r] = W::load8(w + r * row_bytes + (k + h * 8) * W::size);
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) {
        const __m256 x_k = _mm256_loadu_ps(x + c * p.x_stride + k + h * 8);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) sum[h][r][c] = _mm256_fmadd_ps(x_k, w_k[r], sum[h][r][c]);
      }
    }
  }
  if (slice.end < p.cols) {
#pragma GCC unroll 8
    for (int h = 0; h < 2; ++h) {
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) {
          _mm256_storeu_ps(slice.lanes + (r * C + c) * 16 + h * 8, sum[h][r][c]);
        }
      }
    }
    return;
  }
  if (k < p.cols) {
    const std::int64_t rest = p.cols - k;
    alignas(32) unsigned char w_rest[R][16 * W::size] = {};
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      __builtin_memcpy(w_rest[r], w + r * row_bytes + k * W::size,
                       static_cast<std::size_t>(rest * W::size));
    }
#pragma GCC unroll 8
    for (int h = 0; h < 2; ++h) {
      const __m256i have = first(rest - h * 8);
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) {
        // Not even the address of lane 8 may be formed when the row ends before it.
        const __m256 x_k = rest > h * 8 ? _mm256_maskload_ps(x + c * p.x_stride + k + h * 8, have)
                                        : _mm256_setzero_ps();
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
          const __m256 w_k = W::load8(w_rest[r] + h * 8 * W::size);
          sum[h][r][c] = _mm256_fmadd_ps(x_k, w_k, sum[h][r][c]);
        }
      }
    }
  }
#pragma GCC unroll 8
  for (int c = 0; c < C; ++c) {
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const float total = sum_lanes(sum[0][r][c], sum[1][r][c]);
      p.y[(token + c) * p.y_stride + row + r] = p.bias ? total + p.bias[row + r] : total;
    }
  }
}

constexpr std::int64_t kFloatTokens = 2;  // 2 x 3 x 2 sums, 3 weights and one x: 16 registers

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

/// The table of a level that multiplies int8 in its own way.
constexpr LinearKernels linear_kernels(void (*prepare_i8)(const std::int8_t*, std::int64_t,
                                                          std::uint8_t*, std::int64_t),
                                       void (*product_i8)(const I8Product&)) {
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
