// What the levels with registers of 256 bits share of codes: all but how bytes are multiplied.
// Included by one file per level; as pure as linear_avx512.cc.
//
// A ymm holds the words of 8 rows. Windows are cut out of 16 bits each, of which vpmullw brings the
// upper end to the top and a shift the lower end to the bottom. Four vpshufb look 64 values up.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/linear/linear_codes_blocks.h"
#include "kernels/linear/linear_codes_windows.h"

namespace krait {
namespace {

/// All ones in the first n of 8 lanes.
__m256i first(std::int64_t n) {
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<std::int32_t>(n < 8 ? n : 8)), lanes);
}

__m256i load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
__m128i load16(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }

/// Four consecutive bytes of one token, for 8 rows.
__m256i broadcast4(const std::int8_t* x) {
  std::int32_t four;
  __builtin_memcpy(&four, x, 4);
  return _mm256_set1_epi32(four);
}

/// The scales of 8 rows.
__m256 load_scales(const std::uint8_t* scales) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load16(scales)), 16));
}

/// The windows of CodeWindows with what they must be multiplied by to end at bit 16.
template <int bits>
struct Multipliers {
  constexpr Multipliers() : windows(code_windows(bits)) {
    for (auto& step : windows.shift) {
      for (std::uint16_t& shift : step) shift = static_cast<std::uint16_t>(1 << (10 - shift));
    }
  }
  CodeWindows windows;
};
template <int bits>
constexpr Multipliers<bits> kMultipliers;

/// Values by indices of 0 to 63, or of 64 values that repeat after 16: the first 16 are looked up
/// whatever the index, and each further quarter puts its difference to the one before on top where
/// the index reaches it.
template <int values>
struct Lookup {
  Lookup(const std::int8_t* table, std::int8_t offset) {
    __m256i before = _mm256_setzero_si256();
#pragma GCC unroll 4
    for (int i = 0; i < kParts; ++i) {
      const __m256i part = _mm256_xor_si256(_mm256_broadcastsi128_si256(load16(table + 16 * i)),
                                            _mm256_set1_epi8(offset));
      change[i] = _mm256_xor_si256(part, before);
      before = part;
    }
  }
  [[gnu::always_inline]] __m256i operator()(__m256i index) const {
    const __m256i quarter = _mm256_set1_epi8(16);
    __m256i result = _mm256_shuffle_epi8(change[0], index);
#pragma GCC unroll 4
    for (int i = 1; i < kParts; ++i) {
      index = _mm256_sub_epi8(index, quarter);  // negative: vpshufb gives 0
      result = _mm256_xor_si256(result, _mm256_shuffle_epi8(change[i], index));
    }
    return result;
  }
  static constexpr int kParts = values / 16;
  __m256i change[kParts];
};

/// Dot: how bytes are multiplied, see linear_codes_avx2.cc.
template <typename Dot>
struct Avx2 {
  static constexpr int kTileRows = 1;
  static constexpr int kTokens = 4;  // 2 x 4 sums, the tile, x and the steps between

  template <int bits, int values>
  static void decode(const std::uint8_t* words, std::int64_t columns, const std::int8_t* table,
                     std::int8_t* tiles) {
    constexpr int steps = steps_of(bits), bytes = bits == 3 ? 24 : 32;  // of 8 rows
    const CodeWindows& at = kMultipliers<bits>.windows;
    const Lookup<values> lookup(table, Dot::kOffset);
    for (std::int64_t k = 0; k < columns; k += 4 * steps, tiles += 64 * steps) {
      __builtin_prefetch(words + 4096);
      for (std::int64_t half = 0; half < 2; ++half, words += bytes) {
        __m256i word;
        if constexpr (bits == 3) {
          word = _mm256_set_m128i(load16(words + 8), load16(words));
        } else {
          word = load(words);
        }
#pragma GCC unroll 4
        for (int m = 0; m < steps; ++m) {
          __m256i window[2];
#pragma GCC unroll 2
          for (int w = 0; w < 2; ++w) {
            window[w] = _mm256_shuffle_epi8(word, load(at.bytes[m][w]));
            window[w] = _mm256_srli_epi16(_mm256_mullo_epi16(window[w], load(at.shift[m])), 10);
          }
          _mm256_store_si256(reinterpret_cast<__m256i*>(tiles + m * 64 + half * 32),
                             lookup(_mm256_packus_epi16(window[0], window[1])));
        }
      }
    }
  }

  template <int R, int C>
  static void multiply(const GroupBlock& b) {
    static_assert(R == 1);
    __m256i sum[2][C];
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) {
      sum[0][c] = sum[1][c] = Dot::begin(b.x_sum + c * b.x_sum_stride);
    }
    for (std::int64_t k = 0; k < b.columns; k += 4) {
      const __m256i tile[2] = {load(b.tiles + k * 16), load(b.tiles + k * 16 + 32)};
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) {
        const Dot dot(broadcast4(b.x + c * b.x_stride + k));
#pragma GCC unroll 2
        for (int h = 0; h < 2; ++h) sum[h][c] = dot.add(sum[h][c], tile[h]);
      }
    }
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
      const __m256 scale = load_scales(b.scales + 16 * h);
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) {
        float* y = b.y + c * 16 + h * 8;
        const __m256 total = _mm256_cvtepi32_ps(sum[h][c]);
        _mm256_store_ps(y, _mm256_fmadd_ps(total, scale, _mm256_load_ps(y)));
      }
    }
  }

  static void finish(const CodesProduct& p, std::int64_t token, std::int64_t row, const float* y) {
    const __m256 x_scale = _mm256_set1_ps(p.x_scale[token * p.x_scale_step]);
    for (std::int64_t end = row + 16; row < end && row < p.w.rows; row += 8, y += 8) {
      const __m256i rows = first(p.w.rows - row);
      __m256 scaled = _mm256_mul_ps(_mm256_load_ps(y), x_scale);
      if (p.bias) scaled = _mm256_add_ps(scaled, _mm256_maskload_ps(p.bias + row, rows));
      _mm256_maskstore_ps(p.y + token * p.y_stride + row, rows, scaled);
    }
  }
};

}  // namespace
}  // namespace krait
