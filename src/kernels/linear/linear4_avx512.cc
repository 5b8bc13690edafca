// 4-bit weights with AVX-512 and VNNI. As pure as linear_avx512.cc.
//
// A line of 64 bytes is 16 rows by 8 columns. Its halves of bytes, q + 8 in 0..15, are the unsigned
// side of vpdpbusd and x as it is the signed one; sums start at -8 times the sum of x, which takes
// the offset off again. A float x multiplies one column of 16 rows at a time: seen as 16 words of 8
// weights, a shift brings a column to the lowest bits, and vpermps looks its value up.
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/linear/linear4_kernels.h"
#include "kernels/linear/transpose_avx512.h"

namespace krait {
namespace {

__mmask16 first(std::int64_t n) {
  return static_cast<__mmask16>(n >= 16 ? 0xffffu : (1u << n) - 1u);
}

/// Four consecutive bytes of one token, for all 16 rows.
__m512i broadcast4(const std::int8_t* x) {
  std::int32_t four;
  __builtin_memcpy(&four, x, 4);
  return _mm512_set1_epi32(four);
}

/// The scales of 16 rows, of one of the groups `together` on a line.
struct BF16Scale {
  static constexpr std::int64_t together = 2;
  static __m512 load(const std::uint8_t* line, std::int64_t group) {
    const __m256i h = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(line) + group % 2);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
  }
};
struct F32Scale {
  static constexpr std::int64_t together = 1;
  static __m512 load(const std::uint8_t* line, std::int64_t) { return _mm512_loadu_ps(line); }
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
__m512i spread(__m512i halves) {
  halves = _mm512_and_si512(_mm512_or_si512(halves, _mm512_slli_epi32(halves, 8)),
                            _mm512_set1_epi32(0x00ff00ff));
  return _mm512_and_si512(_mm512_or_si512(halves, _mm512_slli_epi32(halves, 4)),
                          _mm512_set1_epi32(0x0f0f0f0f));
}

void pack(const I4Source& p) {
  const std::int64_t words = p.cols / 8, groups = p.cols / p.group, pair = 2 * (p.group / 8);
  __m512i x[16];
  for (std::int64_t g = 0; g < groups; g += 32) {  // two groups a word
    load_columns(p.scales, groups * 2, p.rows, g * 2, 0x3f803f80, x);
    for (std::int64_t i = 0; i < 16 && g + 2 * i < groups; ++i) {
      auto* line = reinterpret_cast<__m256i*>(p.lines + (g / 2 + i) * (pair + 1) * 64);
      const bool both = g + 2 * i + 1 < groups;
      const __m256i second = _mm512_cvtepi32_epi16(_mm512_srli_epi32(x[i], 16));
      _mm256_storeu_si256(line, _mm512_cvtepi32_epi16(x[i]));
      _mm256_storeu_si256(line + 1, both ? second : _mm256_setzero_si256());
    }
  }
  const __m512i low = _mm512_set1_epi32(0xffff);
  std::uint8_t* line = p.lines;
  std::int64_t left = 0;  // words before the next line of scales
  for (std::int64_t w = 0; w < words; w += 16) {
    load_columns(p.words, words * 4, p.rows, w * 4, static_cast<int>(0x88888888u), x);
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) {
      if (w + i >= words) break;
      if (left == 0) {
        line += 64;
        left = pair;
      }
      const __m512i upper = _mm512_slli_epi32(spread(_mm512_srli_epi32(x[i], 16)), 4);
      _mm512_storeu_si512(line, _mm512_or_si512(spread(_mm512_and_si512(x[i], low)), upper));
      line += 64;
      --left;
    }
  }
}

void group_sums(const std::int8_t* x, std::int64_t cols, std::int64_t group, std::int32_t* sums) {
  const __m512i ones = _mm512_set1_epi8(1);
  for (std::int64_t g = 0; g * group < cols; ++g) {
    __m512i sum = _mm512_setzero_si512();
    for (std::int64_t k = 0; k < group; k += 64) {
      const std::int64_t rest = group - k;
      const __mmask64 in = rest >= 64 ? ~0ull : (1ull << rest) - 1;
      sum = _mm512_dpbusd_epi32(sum, ones, _mm512_maskz_loadu_epi8(in, x + g * group + k));
    }
    sums[g] = -8 * _mm512_reduce_add_epi32(sum);
  }
}

/// What is brought closer meanwhile: `step` bytes per line, into the first-level cache where one
/// row of tiles is read, into the second where two are.
struct Ahead {
  const std::uint8_t* next;
  std::int64_t step;

  template <int R>
  void fetch() {
    if constexpr (R == 1) {
      _mm_prefetch(reinterpret_cast<const char*>(next), _MM_HINT_T0);
    } else {
      _mm_prefetch(reinterpret_cast<const char*>(next), _MM_HINT_T1);
    }
    next += step;
  }
};

// ---- int8 x -----------------------------------------------------------------------------------

/// C tokens times R rows of tiles. Lines are taken U at a time into sums of their own: few tokens
/// leave the multipliers waiting for each other otherwise.
template <typename S, int R, int C, int U>
void tile_product(const I4Product& p, std::int64_t tile_row, std::int64_t token, Ahead ahead) {
  const std::int64_t group_lines = p.w.group / 8, groups = p.w.cols / p.w.group;
  const std::uint8_t* lines = p.w.lines + tile_row * p.w.stride;
  const std::int8_t* x[2];  // tokens are addressed from one pointer in four
  for (int i = 0; i < 2; ++i) x[i] = p.x + (token + (4 * i < C ? 4 * i : 0)) * p.x_stride;
  const std::int32_t* x_sum = p.x_sum + token * groups;
  const __m512i low_half = _mm512_set1_epi8(15);

  __m512 y[R][C];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
    for (int c = 0; c < C; ++c) y[r][c] = _mm512_setzero_ps();
  }
  for (std::int64_t g = 0; g < groups; ++g) {
    __m512i sum[U][R][C];
#pragma GCC unroll 16
    for (int u = 0; u < U; ++u) {
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
        for (int c = 0; c < C; ++c) {
          sum[u][r][c] = u == 0 ? _mm512_set1_epi32(x_sum[c * groups + g]) : _mm512_setzero_si512();
        }
      }
    }
    const std::uint8_t* w = weights_of<S>(lines, g, group_lines);
    const auto step = [&](std::int64_t i, auto& into) __attribute__((always_inline)) {
      __m512i low[R], high[R];
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const __m512i line = _mm512_loadu_si512(w + r * p.w.stride + i * 64);
        low[r] = _mm512_and_si512(line, low_half);
        high[r] = _mm512_and_si512(_mm512_srli_epi16(line, 4), low_half);
      }
#pragma GCC unroll 16
      for (int c = 0; c < C; ++c) {
        const std::int8_t* x_c = x[c / 4] + (c % 4) * p.x_stride + (g * group_lines + i) * 8;
        const __m512i x_low = broadcast4(x_c);
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) into[r][c] = _mm512_dpbusd_epi32(into[r][c], low[r], x_low);
        const __m512i x_high = broadcast4(x_c + 4);
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) into[r][c] = _mm512_dpbusd_epi32(into[r][c], high[r], x_high);
      }
      ahead.template fetch<R>();
    };
    std::int64_t i = 0;
    for (; i + U <= group_lines; i += U) {
#pragma GCC unroll 16
      for (int u = 0; u < U; ++u) step(i + u, sum[u]);
    }
    if constexpr (U > 1) {
      for (; i < group_lines; ++i) step(i, sum[0]);
    }
    if (g % S::together == 0) ahead.template fetch<R>();  // for the line of scales
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const __m512 scale = S::load(scales_of<S>(lines, g, group_lines) + r * p.w.stride, g);
#pragma GCC unroll 16
      for (int c = 0; c < C; ++c) {
        __m512i total = sum[0][r][c];
#pragma GCC unroll 16
        for (int u = 1; u < U; ++u) total = _mm512_add_epi32(total, sum[u][r][c]);
        y[r][c] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(total), scale, y[r][c]);
      }
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
    const std::int64_t row = (tile_row + r) * 16;
    const __mmask16 rows = first(p.w.rows - row);
    const __m512 bias = p.bias ? _mm512_maskz_loadu_ps(rows, p.bias + row) : _mm512_setzero_ps();
#pragma GCC unroll 16
    for (int c = 0; c < C; ++c) {
      __m512 scaled =
          _mm512_mul_ps(y[r][c], _mm512_set1_ps(p.x_scale[(token + c) * p.x_scale_step]));
      if (p.bias) scaled = _mm512_add_ps(scaled, bias);
      _mm512_mask_storeu_ps(p.y + (token + c) * p.y_stride + row, rows, scaled);
    }
  }
}

// ---- float x ----------------------------------------------------------------------------------

/// Where column k of a line lies in its words.
constexpr int shift_of(int k) { return k < 4 ? 8 * k : 8 * (k - 4) + 4; }

/// C tokens times R rows of tiles, U groups at a time, as each is a chain of additions.
template <typename S, int R, int C, int U>
void float_tile_product(const I4FloatProduct& p, std::int64_t tile_row, std::int64_t token,
                        Ahead ahead) {
  const std::int64_t group_lines = p.w.group / 8, groups = p.w.cols / p.w.group;
  const std::uint8_t* lines = p.w.lines + tile_row * p.w.stride;
  const float* x[2];
  for (int i = 0; i < 2; ++i) x[i] = p.x + (token + (4 * i < C ? 4 * i : 0)) * p.x_stride;
  const __m512 values = _mm512_setr_ps(-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7);

  __m512 y[R][C];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
    for (int c = 0; c < C; ++c) y[r][c] = _mm512_setzero_ps();
  }
  // N groups from g on.
  const auto some_groups = [&]<int N>(std::int64_t g) __attribute__((always_inline)) {
    __m512 sum[N][R][C];
#pragma GCC unroll 16
    for (int n = 0; n < N; ++n) {
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
        for (int c = 0; c < C; ++c) sum[n][r][c] = _mm512_setzero_ps();
      }
    }
    const std::uint8_t* w[N];
#pragma GCC unroll 16
    for (int n = 0; n < N; ++n) {
      w[n] = weights_of<S>(lines, g + n, group_lines);
      if ((g + n) % S::together == 0) ahead.template fetch<R>();  // for the line of scales
    }
    for (std::int64_t i = 0; i < group_lines; ++i) {
      __m512i line[N][R];
#pragma GCC unroll 16
      for (int n = 0; n < N; ++n) {
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
          line[n][r] = _mm512_loadu_si512(w[n] + r * p.w.stride + i * 64);
        }
        ahead.template fetch<R>();
      }
#pragma GCC unroll 16
      for (int k = 0; k < 8; ++k) {
#pragma GCC unroll 16
        for (int n = 0; n < N; ++n) {
          __m512 q[R];
#pragma GCC unroll 16
          for (int r = 0; r < R; ++r) {
            const __m512i index = _mm512_srli_epi32(line[n][r], static_cast<unsigned>(shift_of(k)));
            q[r] = _mm512_permutexvar_ps(index, values);  // looks at the lowest 4 bits only
          }
#pragma GCC unroll 16
          for (int c = 0; c < C; ++c) {
            const __m512 x_k = _mm512_set1_ps(
                x[c / 4][(c % 4) * p.x_stride + ((g + n) * group_lines + i) * 8 + k]);
#pragma GCC unroll 16
            for (int r = 0; r < R; ++r) sum[n][r][c] = _mm512_fmadd_ps(x_k, q[r], sum[n][r][c]);
          }
        }
      }
    }
#pragma GCC unroll 16
    for (int n = 0; n < N; ++n) {
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const std::uint8_t* scales = scales_of<S>(lines, g + n, group_lines) + r * p.w.stride;
        const __m512 scale = S::load(scales, g + n);
#pragma GCC unroll 16
        for (int c = 0; c < C; ++c) y[r][c] = _mm512_fmadd_ps(sum[n][r][c], scale, y[r][c]);
      }
    }
  };
  std::int64_t g = 0;
  for (; g + U <= groups; g += U) some_groups.template operator()<U>(g);
  if constexpr (U > 1) {
    for (; g < groups; ++g) some_groups.template operator()<1>(g);
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
    const std::int64_t row = (tile_row + r) * 16;
    const __mmask16 rows = first(p.w.rows - row);
    const __m512 bias = p.bias ? _mm512_maskz_loadu_ps(rows, p.bias + row) : _mm512_setzero_ps();
#pragma GCC unroll 16
    for (int c = 0; c < C; ++c) {
      if (p.bias) y[r][c] = _mm512_add_ps(y[r][c], bias);
      _mm512_mask_storeu_ps(p.y + (token + c) * p.y_stride + row, rows, y[r][c]);
    }
  }
}

// ---- blocks -----------------------------------------------------------------------------------

template <typename P>
using TileProduct = void (*)(const P&, std::int64_t tile_row, std::int64_t token, Ahead);

/// The kernels of one kind of x by the number of tokens: a sum and a result for each row and token
/// must fit into the registers beside the weights.
template <typename P>
struct Variants {
  TileProduct<P> one_row[9];
  TileProduct<P> two_rows[7];
  std::int64_t two_rows_tokens;  // of a block: with more g++ keeps too much in memory
};

template <typename S>
constexpr Variants<I4Product> kVariants = {
    {nullptr, tile_product<S, 1, 1, 4>, tile_product<S, 1, 2, 2>, tile_product<S, 1, 3, 2>,
     tile_product<S, 1, 4, 2>, tile_product<S, 1, 5, 1>, tile_product<S, 1, 6, 1>,
     tile_product<S, 1, 7, 1>, tile_product<S, 1, 8, 1>},
    {nullptr, tile_product<S, 2, 1, 2>, tile_product<S, 2, 2, 1>, tile_product<S, 2, 3, 1>,
     tile_product<S, 2, 4, 1>, tile_product<S, 2, 5, 1>},
    5};
template <typename S>
constexpr Variants<I4FloatProduct> kFloatVariants = {
    {nullptr, float_tile_product<S, 1, 1, 6>, float_tile_product<S, 1, 2, 4>,
     float_tile_product<S, 1, 3, 3>, float_tile_product<S, 1, 4, 2>, float_tile_product<S, 1, 5, 2>,
     float_tile_product<S, 1, 6, 2>, float_tile_product<S, 1, 7, 1>,
     float_tile_product<S, 1, 8, 1>},
    {nullptr, float_tile_product<S, 2, 1, 3>, float_tile_product<S, 2, 2, 2>,
     float_tile_product<S, 2, 3, 1>, float_tile_product<S, 2, 4, 1>, float_tile_product<S, 2, 5, 1>,
     float_tile_product<S, 2, 6, 1>},
    6};

/// Few tokens wait for memory, which is read fastest as a single stream: prefetch a fixed distance
/// ahead, across pages. Many work on two rows of tiles; the next two arrive in the meantime, each
/// block of tokens fetching its share.
template <typename P>
void product(const P& p, const Variants<P>& variants, std::int64_t distance) {
  const std::int64_t tile_rows = (p.w.rows + 15) / 16, stride = p.w.stride;
  constexpr std::int64_t kFew = 8;
  const bool few = p.tokens <= kFew;
  const std::int64_t most = few ? kFew : variants.two_rows_tokens;
  const std::int64_t blocks = (p.tokens + most - 1) / most;
  for (std::int64_t i = 0; i < tile_rows;) {
    const std::int64_t used = few || i + 1 == tile_rows ? 1 : 2;
    const std::uint8_t* lines = p.w.lines + i * stride;
    for (std::int64_t b = 0, token = 0; b < blocks; ++b) {  // blocks of equal size, or one more
      const std::int64_t end = p.tokens * (b + 1) / blocks;
      const Ahead ahead = used == 1
                              ? Ahead{lines + distance, 64 / blocks}
                              : Ahead{lines + (2 * blocks + 2 * b) * stride / blocks, 128 / blocks};
      (used == 1 ? variants.one_row : variants.two_rows)[end - token](p, i, token, ahead);
      token = end;
    }
    i += used;
  }
}

void product_i8(const I4Product& p) {
  product(p, p.w.scale_is_f32 ? kVariants<F32Scale> : kVariants<BF16Scale>, 4096);
}

void product_f32(const I4FloatProduct& p) {
  // Several groups are under way at once: their lines lie further ahead.
  product(p, p.w.scale_is_f32 ? kFloatVariants<F32Scale> : kFloatVariants<BF16Scale>, 8192);
}

}  // namespace

constinit const Linear4Kernels linear4_avx512 = {
    .group_sums = group_sums,
    .pack = pack,
    .i8 = product_i8,
    .f32 = product_f32,
};

}  // namespace krait
