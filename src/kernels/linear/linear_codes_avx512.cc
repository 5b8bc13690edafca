// Codes with AVX-512, VBMI and VNNI. As pure as linear_avx512.cc.
//
// A zmm holds the words of 16 rows. One vpmultishiftqb cuts the windows of 4 columns out of them,
// byte 4 r + k that of row r, column k, and one vpermb, which looks at the lowest 6 bits of a byte
// only, looks them up. Table values + 128 are the unsigned side of vpdpbusd and x as it is the
// signed one; sums start at -128 times the sum of x, which takes the offset off again.
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/linear/linear_codes_blocks.h"

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
  explicit Decoder(const std::int8_t* table) {
    values = _mm512_xor_si512(_mm512_loadu_si512(table), _mm512_set1_epi8(-128));
#pragma GCC unroll 4
    for (int m = 0; m < kTiles; ++m) control[m] = _mm512_load_si512(&kWindowBits<bits>[m]);
    if constexpr (bits == 3) {
#pragma GCC unroll 2
      for (int i = 0; i < 2; ++i) widen[i] = _mm512_load_si512(&kWidened[i]);
    }
  }

  [[gnu::always_inline]] void decode(const std::uint8_t* words, __m512i (&tiles)[4]) const {
#pragma GCC unroll 4
    for (int b = 0; b < 4 / kTiles; ++b) {
      // Loads of 3 bits end with the 96 bytes: nothing beyond them is read.
      __m512i word = _mm512_loadu_si512(words + (bits == 3 ? 32 : 64) * b);
      if constexpr (bits == 3) word = _mm512_permutexvar_epi8(widen[b], word);
#pragma GCC unroll 4
      for (int m = 0; m < kTiles; ++m) {
        const __m512i windows = _mm512_multishift_epi64_epi8(control[m], word);
        tiles[b * kTiles + m] = _mm512_permutexvar_epi8(windows, values);
      }
    }
  }

  static constexpr int kTiles = bits == 2 ? 4 : 2;  // of a word
  __m512i values, control[kTiles], widen[2];
};

// ---- few tokens: decoded in registers ---------------------------------------------------------

// What one thread reads while a line is on its way from memory.
constexpr std::int64_t kAhead = 4096;

/// C tokens times a row of tiles, which are taken into U sums in turn: few tokens leave the
/// multipliers waiting for each other otherwise.
template <int bits, int C, int U>
void tile_product(const CodesProduct& p, std::int64_t tile_row) {
  const std::int64_t groups = p.w.cols / p.w.group;
  const Decoder<bits> decoder(p.w.table);
  const std::int8_t* x[2];  // tokens are addressed from one pointer in four
  for (int i = 0; i < 2; ++i) x[i] = p.x + (4 * i < C ? 4 * i : 0) * p.x_stride;
  const std::uint8_t* words = p.w.lines + tile_row * p.w.stride;
  __m512 y[C];
#pragma GCC unroll 8
  for (int c = 0; c < C; ++c) y[c] = _mm512_setzero_ps();
  const std::uint8_t* scales = words;
  for (std::int64_t g = 0; g < groups; ++g) {
    if (g % 2 == 0) {
      scales = words;
      _mm_prefetch(reinterpret_cast<const char*>(words + kAhead), _MM_HINT_T0);
      words += 64;
    }
    __m512i sum[U][C];
#pragma GCC unroll 8
    for (int u = 0; u < U; ++u) {
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) {
        sum[u][c] =
            u == 0 ? _mm512_set1_epi32(16 * p.x_sum[c * groups + g]) : _mm512_setzero_si512();
      }
    }
    for (std::int64_t k = g * p.w.group; k < (g + 1) * p.w.group; k += 16) {
      __m512i w[4];
      decoder.decode(words, w);
#pragma GCC unroll 2
      for (int line = 0; line < (bits + 1) / 2; ++line) {
        _mm_prefetch(reinterpret_cast<const char*>(words + kAhead + line * 64), _MM_HINT_T0);
      }
      words += 32 * bits;
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) {
        const std::int8_t* x_c = x[c / 4] + (c % 4) * p.x_stride + k;
#pragma GCC unroll 4
        for (int m = 0; m < 4; ++m) {
          sum[m % U][c] = _mm512_dpbusd_epi32(sum[m % U][c], w[m], broadcast4(x_c + 4 * m));
        }
      }
    }
    const __m512 scale = load_scales(scales + g % 2 * 32);
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) {
      __m512i total = sum[0][c];
#pragma GCC unroll 8
      for (int u = 1; u < U; ++u) total = _mm512_add_epi32(total, sum[u][c]);
      y[c] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(total), scale, y[c]);
    }
  }
  const std::int64_t row = tile_row * 16;
  const __mmask16 rows = first(p.w.rows - row);
#pragma GCC unroll 8
  for (int c = 0; c < C; ++c) {
    __m512 scaled = _mm512_mul_ps(y[c], _mm512_set1_ps(p.x_scale[c * p.x_scale_step]));
    if (p.bias) scaled = _mm512_add_ps(scaled, _mm512_maskz_loadu_ps(rows, p.bias + row));
    _mm512_mask_storeu_ps(p.y + c * p.y_stride + row, rows, scaled);
  }
}

constexpr std::int64_t kFew = 8;
using TileProduct = void (*)(const CodesProduct&, std::int64_t tile_row);
template <int bits>
constexpr TileProduct kTileProducts[kFew + 1] = {nullptr,
                                                 tile_product<bits, 1, 4>,
                                                 tile_product<bits, 2, 4>,
                                                 tile_product<bits, 3, 2>,
                                                 tile_product<bits, 4, 2>,
                                                 tile_product<bits, 5, 2>,
                                                 tile_product<bits, 6, 1>,
                                                 tile_product<bits, 7, 1>,
                                                 tile_product<bits, 8, 1>};

// ---- many tokens: decoded into memory ---------------------------------------------------------

struct Avx512 {
  static constexpr int kTileRows = 2;
  static constexpr int kTokens = 12;  // 2 x 12 sums, two tiles and x fill the registers

  template <int bits>
  static void decode(const std::uint8_t* words, std::int64_t columns, const std::int8_t* table,
                     std::int8_t* tiles) {
    const Decoder<bits> decoder(table);
    for (std::int64_t k = 0; k < columns; k += 16, words += 32 * bits, tiles += 256) {
      __m512i w[4];
      decoder.decode(words, w);
#pragma GCC unroll 4
      for (int m = 0; m < 4; ++m) _mm512_store_si512(tiles + 64 * m, w[m]);
    }
  }

  template <int R, int C>
  static void multiply(const GroupBlock& b) {
    __m512i sum[R][C];
#pragma GCC unroll 12
    for (int c = 0; c < C; ++c) {
#pragma GCC unroll 2
      for (int r = 0; r < R; ++r) sum[r][c] = _mm512_set1_epi32(16 * b.x_sum[c * b.x_sum_stride]);
    }
    const std::int8_t* x[(C + 3) / 4];
#pragma GCC unroll 4
    for (int i = 0; i < (C + 3) / 4; ++i) x[i] = b.x + 4 * i * b.x_stride;
    for (std::int64_t k = 0; k < b.columns; k += 4) {
      __m512i w[R];
#pragma GCC unroll 2
      for (int r = 0; r < R; ++r) {
        w[r] = _mm512_load_si512(b.tiles + r * b.tile_stride + k * 16);
      }
#pragma GCC unroll 12
      for (int c = 0; c < C; ++c) {
        const __m512i x_k = broadcast4(x[c / 4] + (c % 4) * b.x_stride + k);
#pragma GCC unroll 2
        for (int r = 0; r < R; ++r) sum[r][c] = _mm512_dpbusd_epi32(sum[r][c], w[r], x_k);
      }
    }
#pragma GCC unroll 2
    for (int r = 0; r < R; ++r) {
      const __m512 scale = load_scales(b.scales + r * b.scale_stride);
#pragma GCC unroll 12
      for (int c = 0; c < C; ++c) {
        float* y = b.y + (c * R + r) * 16;
        const __m512 total = _mm512_cvtepi32_ps(sum[r][c]);
        _mm512_store_ps(y, _mm512_fmadd_ps(total, scale, _mm512_load_ps(y)));
      }
    }
  }

  static void finish(const CodesProduct& p, std::int64_t token, std::int64_t row, const float* y) {
    const __mmask16 rows = first(p.w.rows - row);
    __m512 scaled =
        _mm512_mul_ps(_mm512_load_ps(y), _mm512_set1_ps(p.x_scale[token * p.x_scale_step]));
    if (p.bias) scaled = _mm512_add_ps(scaled, _mm512_maskz_loadu_ps(rows, p.bias + row));
    _mm512_mask_storeu_ps(p.y + token * p.y_stride + row, rows, scaled);
  }
};

void product_i8(const CodesProduct& p) {
  if (p.tokens > kFew) {
    product_of_decoded<Avx512>(p);
    return;
  }
  const TileProduct run = p.w.bits == 2   ? kTileProducts<2>[p.tokens]
                          : p.w.bits == 3 ? kTileProducts<3>[p.tokens]
                                          : kTileProducts<4>[p.tokens];
  for (std::int64_t i = 0; i * 16 < p.w.rows; ++i) run(p, i);
}

}  // namespace

constinit const LinearCodesKernels linear_codes_avx512 = {.i8 = product_i8};

}  // namespace krait
