// 16 rows of weights to the columns that the packed layouts want.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace krait {
namespace {

/// 16 rows of 16 words each to 16 columns.
inline void transpose(__m512i (&x)[16]) {
  __m512i y[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; i += 2) {
    y[i] = _mm512_unpacklo_epi32(x[i], x[i + 1]);
    y[i + 1] = _mm512_unpackhi_epi32(x[i], x[i + 1]);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 16; i += 4) {  // x[i + c]: column 4 l + c of rows i to i + 3, in quarter l
    x[i] = _mm512_unpacklo_epi64(y[i], y[i + 2]);
    x[i + 1] = _mm512_unpackhi_epi64(y[i], y[i + 2]);
    x[i + 2] = _mm512_unpacklo_epi64(y[i + 1], y[i + 3]);
    x[i + 3] = _mm512_unpackhi_epi64(y[i + 1], y[i + 3]);
  }
#pragma GCC unroll 16
  for (int c = 0; c < 4; ++c) {
    const __m512i even_low = _mm512_shuffle_i32x4(x[c], x[c + 4], 0x88);
    const __m512i odd_low = _mm512_shuffle_i32x4(x[c], x[c + 4], 0xdd);
    const __m512i even_high = _mm512_shuffle_i32x4(x[c + 8], x[c + 12], 0x88);
    const __m512i odd_high = _mm512_shuffle_i32x4(x[c + 8], x[c + 12], 0xdd);
    y[c] = _mm512_shuffle_i32x4(even_low, even_high, 0x88);
    y[c + 8] = _mm512_shuffle_i32x4(even_low, even_high, 0xdd);
    y[c + 4] = _mm512_shuffle_i32x4(odd_low, odd_high, 0x88);
    y[c + 12] = _mm512_shuffle_i32x4(odd_low, odd_high, 0xdd);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) x[i] = y[i];
}

/// Bytes [begin, begin + 64) of 16 rows that end at `row_bytes` (zeros from there on), as 16
/// columns of words. Rows from `rows` on hold `filler`.
inline void load_columns(const void* from, std::int64_t row_bytes, std::int64_t rows,
                         std::int64_t begin, int filler, __m512i (&x)[16]) {
  const std::int64_t rest = row_bytes - begin;
  const __mmask64 in = rest >= 64 ? ~0ull : (1ull << rest) - 1;
  const char* at = static_cast<const char*>(from) + begin;
  // Sixteen streams at once are more than the hardware foresees: ahead in the rows, then in the
  // next sixteen.
  constexpr std::int64_t kAhead = 1024;
  const char* next = at + (rest > kAhead ? kAhead : kAhead + 15 * row_bytes);
#pragma GCC unroll 16
  for (int r = 0; r < 16; ++r) {
    _mm_prefetch(next + r * row_bytes, _MM_HINT_T0);
    x[r] = r < rows ? _mm512_maskz_loadu_epi8(in, at + r * row_bytes) : _mm512_set1_epi32(filler);
  }
  transpose(x);
}

}  // namespace
}  // namespace krait
