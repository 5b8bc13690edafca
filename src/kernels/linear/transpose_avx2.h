// 8 rows of weights to the columns that the packed layouts want.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace krait {
namespace {

/// 8 rows of 8 words each to 8 columns.
inline void transpose(__m256i (&x)[8]) {
  __m256i y[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; i += 2) {
    y[i] = _mm256_unpacklo_epi32(x[i], x[i + 1]);
    y[i + 1] = _mm256_unpackhi_epi32(x[i], x[i + 1]);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; i += 4) {  // x[i + c]: column 4 l + c of rows i to i + 3, in half l
    x[i] = _mm256_unpacklo_epi64(y[i], y[i + 2]);
    x[i + 1] = _mm256_unpackhi_epi64(y[i], y[i + 2]);
    x[i + 2] = _mm256_unpacklo_epi64(y[i + 1], y[i + 3]);
    x[i + 3] = _mm256_unpackhi_epi64(y[i + 1], y[i + 3]);
  }
#pragma GCC unroll 8
  for (int c = 0; c < 4; ++c) {
    y[c] = _mm256_permute2x128_si256(x[c], x[c + 4], 0x20);
    y[c + 4] = _mm256_permute2x128_si256(x[c], x[c + 4], 0x31);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) x[i] = y[i];
}

/// Bytes [begin, begin + 32) of 8 rows that end at `row_bytes` (zeros from there on), as 8 columns
/// of words. Rows from `rows` on hold `filler`.
inline void load_columns(const void* from, std::int64_t row_bytes, std::int64_t rows,
                         std::int64_t begin, int filler, __m256i (&x)[8]) {
  const std::int64_t rest = row_bytes - begin;
  const char* at = static_cast<const char*>(from) + begin;
  // Eight streams at once are more than the hardware foresees: ahead in the rows, then in the next
  // eight.
  constexpr std::int64_t kAhead = 1024;
  const char* next = at + (rest > kAhead ? kAhead : kAhead + 7 * row_bytes);
  for (int r = 0; r < 8; ++r) {
    _mm_prefetch(next + r * row_bytes, _MM_HINT_T0);
    if (r >= rows) {
      x[r] = _mm256_set1_epi32(filler);
    } else if (rest >= 32) {
      x[r] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at + r * row_bytes));
    } else {
      alignas(32) char part[32] = {};
      __builtin_memcpy(part, at + r * row_bytes, static_cast<std::size_t>(rest));
      x[r] = _mm256_load_si256(reinterpret_cast<const __m256i*>(part));
    }
  }
  transpose(x);
}

}  // namespace
}  // namespace krait
