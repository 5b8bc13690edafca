// Codes with AVX-512, VBMI and VNNI. As pure as linear_avx512.cc.
//
// A zmm holds the words of 16 rows. One vpmultishiftqb cuts the windows of 4 columns out of them,
// byte 4 r + k that of row r, column k, and one vpermb, which looks at the lowest 6 bits of a byte
// only, looks them up. Table values + 128 are the unsigned side of vpdpbusd and x as it is the
// signed one; sums start at -128 times the sum of x, which takes the offset off again.
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/linear/linear_codes_kernels.h"

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

/// The scales of 16 rows.
__m512 load_scales(const std::uint8_t* scales) {
  const __m256i h = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(scales));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}

// ---- decoding ---------------------------------------------------------------------------------

struct alignas(64) Bytes {
  std::uint8_t at[64];
};

/// Where the windows of columns 4 m to 4 m + 3 of two rows begin in their word.
constexpr Bytes window_bits(int bits, int m) {
  Bytes result{};
  for (int i = 0; i < 64; ++i) {
    const int row = i / 4 % 2, column = 4 * m + i % 4;
    result.at[i] = static_cast<std::uint8_t>(bits * (2 * column + row));
  }
  return result;
}

/// Eight words of 6 bytes from `offset` on, to 8 bytes each: the first two bytes come again at the
/// end, where windows run around.
constexpr Bytes widened(int offset) {
  Bytes result{};
  for (int i = 0; i < 64; ++i) {
    result.at[i] = static_cast<std::uint8_t>(offset + i / 8 * 6 + i % 8 % 6);
  }
  return result;
}

template <int bits>
constexpr Bytes kWindowBits[4] = {window_bits(bits, 0), window_bits(bits, 1), window_bits(bits, 2),
                                  window_bits(bits, 3)};
constexpr Bytes kWidened[2] = {widened(0), widened(16)};

/// Takes 16 columns of 16 rows, 32 * bits bytes, to four tiles of 4 columns.
template <int bits>
struct Decoder {
  static constexpr int kTiles = bits == 2 ? 4 : 2;  // of a word

  explicit Decoder(const std::int8_t* table)
      : values(_mm512_xor_si512(_mm512_loadu_si512(table), _mm512_set1_epi8(-128))) {
#pragma GCC unroll 16
    for (int m = 0; m < kTiles; ++m) control[m] = _mm512_load_si512(&kWindowBits<bits>[m]);
    if constexpr (bits == 3) {
#pragma GCC unroll 16
      for (int i = 0; i < 2; ++i) widen[i] = _mm512_load_si512(&kWidened[i]);
    }
  }

  /// The words that tiles i * kTiles to (i + 1) * kTiles - 1 are in.
  [[gnu::always_inline]] __m512i words(const std::uint8_t* from, int i) const {
    if constexpr (bits == 3) {  // the second load ends with the 96 bytes
      return _mm512_permutexvar_epi8(widen[i], _mm512_loadu_si512(from + 32 * i));
    } else {
      return _mm512_loadu_si512(from + 64 * i);
    }
  }
  [[gnu::always_inline]] __m512i tile(__m512i word, int m) const {
    return _mm512_permutexvar_epi8(_mm512_multishift_epi64_epi8(control[m], word), values);
  }

  __m512i values, control[kTiles], widen[2];
};

// ---- products ---------------------------------------------------------------------------------

/// What is brought closer meanwhile, `step` bytes per 64: into the first-level cache where one row
/// of tiles is read, into the second where two are.
struct Ahead {
  const std::uint8_t* next;
  std::int64_t step;

  template <int R>
  void fetch(int lines) {
    for (int i = 0; i < lines; ++i) {
      if constexpr (R == 1) {
        _mm_prefetch(reinterpret_cast<const char*>(next), _MM_HINT_T0);
      } else {
        _mm_prefetch(reinterpret_cast<const char*>(next), _MM_HINT_T1);
      }
      next += step;
    }
  }
};

/// C tokens times R rows of tiles, which are taken into U sums in turn: few tokens leave the
/// multipliers waiting for each other otherwise.
template <int bits, int R, int C, int U>
void tile_product(const CodesProduct& p, std::int64_t tile_row, std::int64_t token, Ahead ahead) {
  const std::int64_t groups = p.w.cols / p.w.group;
  const Decoder<bits> decoder(p.w.table);
  const std::uint8_t* words = p.w.lines + tile_row * p.w.stride;
  const std::uint8_t* scales = words;
  const std::int8_t* x[2];  // tokens are addressed from one pointer in four
  for (int i = 0; i < 2; ++i) x[i] = p.x + (token + (4 * i < C ? 4 * i : 0)) * p.x_stride;
  const std::int32_t* x_sum = p.x_sum + token * groups;
  __m512 y[R][C];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
    for (int c = 0; c < C; ++c) y[r][c] = _mm512_setzero_ps();
  }
  for (std::int64_t g = 0; g < groups; ++g) {
    if (g % 2 == 0) {
      scales = words;
      words += 64;
      ahead.fetch<R>(1);
    }
    __v16si sum[U][R][C];  // as __m512i g++ 12 copies each around the loop
#pragma GCC unroll 16
    for (int u = 0; u < U; ++u) {
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
        for (int c = 0; c < C; ++c) {
          sum[u][r][c] = reinterpret_cast<__v16si>(
              u == 0 ? _mm512_set1_epi32(16 * x_sum[c * groups + g]) : _mm512_setzero_si512());
        }
      }
    }
    std::int64_t k = g * p.w.group;
    do {
#pragma GCC unroll 16
      for (int i = 0; i < 4 / Decoder<bits>::kTiles; ++i) {
        __m512i word[R];
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) word[r] = decoder.words(words + r * p.w.stride, i);
#pragma GCC unroll 16
        for (int m = 0; m < Decoder<bits>::kTiles; ++m) {
          const int tile = i * Decoder<bits>::kTiles + m;
          __m512i w[R];
#pragma GCC unroll 16
          for (int r = 0; r < R; ++r) w[r] = decoder.tile(word[r], m);
#pragma GCC unroll 16
          for (int c = 0; c < C; ++c) {
            const __m512i x_c = broadcast4(x[c / 4] + (c % 4) * p.x_stride + k + 4 * tile);
#pragma GCC unroll 16
            for (int r = 0; r < R; ++r) {
              __v16si& into = sum[tile % U][r][c];
              into = reinterpret_cast<__v16si>(
                  _mm512_dpbusd_epi32(reinterpret_cast<__m512i>(into), w[r], x_c));
            }
          }
        }
      }
      ahead.fetch<R>((bits + 1) / 2);
      words += 32 * bits;
      k += 16;
    } while (k < (g + 1) * p.w.group);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const __m512 scale = load_scales(scales + r * p.w.stride + g % 2 * 32);
#pragma GCC unroll 16
      for (int c = 0; c < C; ++c) {
        __v16si total = sum[0][r][c];
#pragma GCC unroll 16
        for (int u = 1; u < U; ++u) total += sum[u][r][c];
        const __m512 exact = _mm512_cvtepi32_ps(reinterpret_cast<__m512i>(total));
        y[r][c] = _mm512_fmadd_ps(exact, scale, y[r][c]);
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

// ---- blocks -----------------------------------------------------------------------------------

using TileProduct = void (*)(const CodesProduct&, std::int64_t tile_row, std::int64_t token, Ahead);

constexpr std::int64_t kFew = 8, kMany = 6;  // tokens that one and two rows of tiles take at a time
template <int bits>
constexpr TileProduct kOneRow[kFew + 1] = {nullptr,
                                           tile_product<bits, 1, 1, 4>,
                                           tile_product<bits, 1, 2, 4>,
                                           tile_product<bits, 1, 3, 2>,
                                           tile_product<bits, 1, 4, 2>,
                                           tile_product<bits, 1, 5, 2>,
                                           tile_product<bits, 1, 6, 1>,
                                           tile_product<bits, 1, 7, 1>,
                                           tile_product<bits, 1, 8, 1>};
template <int bits>
constexpr TileProduct kTwoRows[kMany + 1] = {nullptr,
                                             tile_product<bits, 2, 1, 2>,
                                             tile_product<bits, 2, 2, 1>,
                                             tile_product<bits, 2, 3, 1>,
                                             tile_product<bits, 2, 4, 1>,
                                             tile_product<bits, 2, 5, 1>,
                                             tile_product<bits, 2, 6, 1>};

/// Few tokens wait for memory, which is read fastest as a single stream: prefetch a fixed distance
/// ahead, across pages. Many work on two rows of tiles; the next two arrive in the meantime, each
/// block of tokens fetching its share.
template <int bits>
void product(const CodesProduct& p) {
  const std::int64_t tile_rows = (p.w.rows + 15) / 16, stride = p.w.stride;
  const bool few = p.tokens <= kFew;
  const std::int64_t most = few ? kFew : kMany;
  const std::int64_t blocks = (p.tokens + most - 1) / most;
  for (std::int64_t i = 0; i < tile_rows;) {
    const std::int64_t used = few || i + 1 == tile_rows ? 1 : 2;
    const std::uint8_t* lines = p.w.lines + i * stride;
    for (std::int64_t b = 0, token = 0; b < blocks; ++b) {  // blocks of equal size, or one more
      const std::int64_t end = p.tokens * (b + 1) / blocks;
      const Ahead ahead = used == 1
                              ? Ahead{lines + 4096, 64 / blocks}
                              : Ahead{lines + (2 * blocks + 2 * b) * stride / blocks, 128 / blocks};
      (used == 1 ? kOneRow<bits> : kTwoRows<bits>)[end - token](p, i, token, ahead);
      token = end;
    }
    i += used;
  }
}

void product_i8(const CodesProduct& p) {
  (p.w.bits == 2 ? product<2> : p.w.bits == 3 ? product<3> : product<4>)(p);
}

}  // namespace

constinit const LinearCodesKernels linear_codes_avx512 = {.i8 = product_i8};

}  // namespace krait
