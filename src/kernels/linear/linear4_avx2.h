// What the levels with registers of 256 bits share of 4-bit weights: all but how bytes are
// multiplied. Included by one file per level; as pure as linear_avx512.cc.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/linear/linear4_kernels.h"
#include "kernels/linear/transpose_avx2.h"

namespace krait {
namespace {

std::int64_t smaller(std::int64_t a, std::int64_t b) { return a < b ? a : b; }

/// All ones in the first n of 8 lanes.
__m256i first(std::int64_t n) {
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<std::int32_t>(n < 8 ? n : 8)), lanes);
}

__m256i load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }

/// Four consecutive bytes of one token, for 8 rows.
__m256i broadcast4(const std::int8_t* x) {
  std::int32_t four;
  __builtin_memcpy(&four, x, 4);
  return _mm256_set1_epi32(four);
}

/// Into the first-level cache.
void prefetch_l1(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }

/// The scales of rows 0 to 7 (half 0) or 8 to 15 of one of the groups `together` on a line.
struct BF16Scale {
  static constexpr std::int64_t together = 2;
  static __m256 load8(const std::uint8_t* line, std::int64_t group, std::int64_t half) {
    const __m128i* scales = reinterpret_cast<const __m128i*>(line) + group % 2 * 2 + half;
    return _mm256_castsi256_ps(
        _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(scales)), 16));
  }
};
struct F32Scale {
  static constexpr std::int64_t together = 1;
  static __m256 load8(const std::uint8_t* line, std::int64_t, std::int64_t half) {
    return _mm256_loadu_ps(reinterpret_cast<const float*>(line) + half * 8);
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
__m256i spread(__m256i halves) {
  halves = _mm256_and_si256(_mm256_or_si256(halves, _mm256_slli_epi32(halves, 8)),
                            _mm256_set1_epi32(0x00ff00ff));
  return _mm256_and_si256(_mm256_or_si256(halves, _mm256_slli_epi32(halves, 4)),
                          _mm256_set1_epi32(0x0f0f0f0f));
}

/// The lower halves of 8 words.
__m128i narrow(__m256i x) {
  const __m256i low = _mm256_and_si256(x, _mm256_set1_epi32(0xffff));
  const __m256i packed = _mm256_packus_epi32(low, low);
  return _mm256_castsi256_si128(_mm256_permute4x64_epi64(packed, 0x08));
}

/// Eight of the 16 rows from `half` on; `rows` of them are there.
void pack_half(const I4Source& p, std::int64_t half, std::int64_t rows) {
  const std::int64_t words = p.cols / 8, groups = p.cols / p.group, pair = 2 * (p.group / 8);
  const char* scales = static_cast<const char*>(p.scales) + half * groups * 2;
  const char* weights = static_cast<const char*>(p.words) + half * words * 4;
  __m256i x[8];
  for (std::int64_t g = 0; g < groups; g += 16) {  // two groups a word
    load_columns(scales, groups * 2, rows, g * 2, 0x3f803f80, x);
    for (std::int64_t i = 0; i < 8 && g + 2 * i < groups; ++i) {
      std::uint8_t* line = p.lines + (g / 2 + i) * (pair + 1) * 64 + half * 2;
      const bool both = g + 2 * i + 1 < groups;
      const __m128i second = narrow(_mm256_srli_epi32(x[i], 16));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(line), narrow(x[i]));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(line + 32), both ? second : _mm_setzero_si128());
    }
  }
  const __m256i low = _mm256_set1_epi32(0xffff);
  std::uint8_t* line = p.lines + half * 4;
  std::int64_t left = 0;  // words before the next line of scales
  for (std::int64_t w = 0; w < words; w += 8) {
    load_columns(weights, words * 4, rows, w * 4, static_cast<int>(0x88888888u), x);
    for (int i = 0; i < 8 && w + i < words; ++i) {
      if (left == 0) {
        line += 64;
        left = pair;
      }
      const __m256i upper = _mm256_slli_epi32(spread(_mm256_srli_epi32(x[i], 16)), 4);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(line),
                          _mm256_or_si256(spread(_mm256_and_si256(x[i], low)), upper));
      line += 64;
      --left;
    }
  }
}

void pack(const I4Source& p) {
  pack_half(p, 0, p.rows);
  pack_half(p, 8, p.rows - 8);
}

void group_sums(const std::int8_t* x, std::int64_t cols, std::int64_t group, std::int32_t* sums) {
  for (std::int64_t g = 0; g * group < cols; ++g) {
    std::int32_t sum = 0;
    for (std::int64_t k = g * group; k < (g + 1) * group; ++k) sum += x[k];
    sums[g] = -8 * sum;
  }
}

// ---- int8 x -----------------------------------------------------------------------------------

/// C tokens times the halves [half, half + H) of one row of tiles, 8 rows each. Dot::kLines lines
/// of weights are multiplied into partial sums at a time.
template <typename Dot, typename S, int C, int H>
void tile_product(const I4Product& p, std::int64_t tile_row, std::int64_t half,
                  std::int64_t token) {
  const std::int64_t group_lines = p.w.group / 8, groups = p.w.cols / p.w.group;
  const std::uint8_t* lines = p.w.lines + tile_row * p.w.stride;
  const std::int8_t* x = p.x + token * p.x_stride;
  const std::int32_t* x_sum = p.x_sum + token * groups;
  const __m256i low_half = _mm256_set1_epi8(15);
  __m256 y[H][C];
#pragma GCC unroll 8
  for (int h = 0; h < H; ++h) {
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) y[h][c] = _mm256_setzero_ps();
  }
  for (std::int64_t g = 0; g < groups; ++g) {
    __m256i sum[H][C];
#pragma GCC unroll 8
    for (int h = 0; h < H; ++h) {
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) sum[h][c] = _mm256_set1_epi32(x_sum[c * groups + g]);
    }
    const std::uint8_t* w = weights_of<S>(lines, g, group_lines) + half * 32;
    for (std::int64_t i = 0; i < group_lines;) {
      __m256i partial[H][C];
#pragma GCC unroll 8
      for (int h = 0; h < H; ++h) {
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) partial[h][c] = Dot::begin(sum[h][c]);
      }
      for (const std::int64_t stop = smaller(group_lines, i + Dot::kLines); i < stop; ++i) {
        prefetch_l1(w + i * 64 + 4096);
        __m256i low[H], high[H];
#pragma GCC unroll 8
        for (int h = 0; h < H; ++h) {
          const __m256i line = load(w + i * 64 + h * 32);
          low[h] = _mm256_and_si256(line, low_half);
          high[h] = _mm256_and_si256(_mm256_srli_epi16(line, 4), low_half);
        }
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) {
          const __m256i x_low = broadcast4(x + c * p.x_stride + (g * group_lines + i) * 8);
          const __m256i x_high = broadcast4(x + c * p.x_stride + (g * group_lines + i) * 8 + 4);
#pragma GCC unroll 8
          for (int h = 0; h < H; ++h) {
            partial[h][c] = Dot::add(partial[h][c], low[h], x_low);
            partial[h][c] = Dot::add(partial[h][c], high[h], x_high);
          }
        }
      }
#pragma GCC unroll 8
      for (int h = 0; h < H; ++h) {
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) {
          sum[h][c] = Dot::end(sum[h][c], partial[h][c]);
        }
      }
    }
#pragma GCC unroll 8
    for (int h = 0; h < H; ++h) {
      const __m256 scale = S::load8(scales_of<S>(lines, g, group_lines), g, half + h);
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) {
        y[h][c] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum[h][c]), scale, y[h][c]);
      }
    }
  }
#pragma GCC unroll 8
  for (int h = 0; h < H; ++h) {
    const std::int64_t row = tile_row * 16 + (half + h) * 8;
    if (row >= p.w.rows) break;
    const __m256i rows = first(p.w.rows - row);
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) {
      __m256 scaled =
          _mm256_mul_ps(y[h][c], _mm256_set1_ps(p.x_scale[(token + c) * p.x_scale_step]));
      if (p.bias) scaled = _mm256_add_ps(scaled, _mm256_maskload_ps(p.bias + row, rows));
      _mm256_maskstore_ps(p.y + (token + c) * p.y_stride + row, rows, scaled);
    }
  }
}

// ---- float x ----------------------------------------------------------------------------------

/// Where column k of a line lies in its words.
constexpr int shift_of(int k) { return k < 4 ? 8 * k : 8 * (k - 4) + 4; }

/// C tokens times the halves [half, half + H) of one row of tiles, U groups at a time, as each is a
/// chain of additions.
template <typename S, int C, int H, int U>
void float_tile_product(const I4FloatProduct& p, std::int64_t tile_row, std::int64_t half,
                        std::int64_t token) {
  const std::int64_t group_lines = p.w.group / 8, groups = p.w.cols / p.w.group;
  const std::uint8_t* lines = p.w.lines + tile_row * p.w.stride;
  const float* x = p.x + token * p.x_stride;
  const __m256i low_bits = _mm256_set1_epi32(15);
  const __m256 eight = _mm256_set1_ps(8);
  __m256 y[H][C];
#pragma GCC unroll 8
  for (int h = 0; h < H; ++h) {
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) y[h][c] = _mm256_setzero_ps();
  }
  const auto some_groups = [&]<int N>(std::int64_t g) __attribute__((always_inline)) {
    __m256 sum[N][H][C];
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) {
#pragma GCC unroll 8
      for (int h = 0; h < H; ++h) {
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) sum[n][h][c] = _mm256_setzero_ps();
      }
    }
    const std::uint8_t* w[N];
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) w[n] = weights_of<S>(lines, g + n, group_lines) + half * 32;
    for (std::int64_t i = 0; i < group_lines; ++i) {
#pragma GCC unroll 8
      for (int n = 0; n < N; ++n) prefetch_l1(w[n] + i * 64 + 8192);
#pragma GCC unroll 8
      for (int k = 0; k < 8; ++k) {
#pragma GCC unroll 8
        for (int n = 0; n < N; ++n) {
          __m256 q[H];
#pragma GCC unroll 8
          for (int h = 0; h < H; ++h) {
            const __m256i words = load(w[n] + i * 64 + h * 32);
            const __m256i bits = _mm256_and_si256(_mm256_srli_epi32(words, shift_of(k)), low_bits);
            q[h] = _mm256_sub_ps(_mm256_cvtepi32_ps(bits), eight);
          }
#pragma GCC unroll 8
          for (int c = 0; c < C; ++c) {
            const __m256 x_k =
                _mm256_set1_ps(x[c * p.x_stride + ((g + n) * group_lines + i) * 8 + k]);
#pragma GCC unroll 8
            for (int h = 0; h < H; ++h) sum[n][h][c] = _mm256_fmadd_ps(x_k, q[h], sum[n][h][c]);
          }
        }
      }
    }
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) {
#pragma GCC unroll 8
      for (int h = 0; h < H; ++h) {
        const __m256 scale = S::load8(scales_of<S>(lines, g + n, group_lines), g + n, half + h);
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) y[h][c] = _mm256_fmadd_ps(sum[n][h][c], scale, y[h][c]);
      }
    }
  };
  std::int64_t g = 0;
  for (; g + U <= groups; g += U) some_groups.template operator()<U>(g);
  if constexpr (U > 1) {
    for (; g < groups; ++g) some_groups.template operator()<1>(g);
  }
#pragma GCC unroll 8
  for (int h = 0; h < H; ++h) {
    const std::int64_t row = tile_row * 16 + (half + h) * 8;
    if (row >= p.w.rows) break;
    const __m256i rows = first(p.w.rows - row);
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) {
      if (p.bias) y[h][c] = _mm256_add_ps(y[h][c], _mm256_maskload_ps(p.bias + row, rows));
      _mm256_maskstore_ps(p.y + (token + c) * p.y_stride + row, rows, y[h][c]);
    }
  }
}

// ---- blocks -----------------------------------------------------------------------------------

template <typename P>
struct Variant {
  void (*run)(const P&, std::int64_t tile_row, std::int64_t half, std::int64_t token);
  int halves;  // of a row of tiles that one call does
};
template <typename S>
constexpr Variant<I4FloatProduct> kFloatProducts[] = {{nullptr, 2},
                                                      {float_tile_product<S, 1, 2, 3>, 2},
                                                      {float_tile_product<S, 2, 2, 2>, 2},
                                                      {float_tile_product<S, 3, 2, 1>, 2},
                                                      {float_tile_product<S, 4, 2, 1>, 2}};

/// variants[n] takes n tokens.
template <typename P, std::size_t N>
void product(const P& p, const Variant<P> (&variants)[N]) {
  constexpr auto most = static_cast<std::int64_t>(N) - 1;
  const std::int64_t blocks = (p.tokens + most - 1) / most;
  for (std::int64_t i = 0; i * 16 < p.w.rows; ++i) {
    for (std::int64_t b = 0, token = 0; b < blocks; ++b) {  // blocks of equal size, or one more
      const std::int64_t end = p.tokens * (b + 1) / blocks;
      const Variant<P>& variant = variants[end - token];
      for (std::int64_t half = 0; half < 2; half += variant.halves) {
        variant.run(p, i, half, token);
      }
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

/// The table of a level that multiplies integers in its own way.
constexpr Linear4Kernels linear4_kernels(void (*product_i8)(const I4Product&)) {
  return {.group_sums = group_sums, .pack = pack, .i8 = product_i8, .f32 = product_f32};
}

}  // namespace
}  // namespace krait
