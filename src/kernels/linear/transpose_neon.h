// 4 rows of weights to the columns that the packed layouts want.
#pragma once

#include <arm_neon.h>

#include <cstdint>

namespace krait {
namespace {

/// 4 rows of 4 words each to 4 columns.
inline void transpose(int32x4_t (&x)[4]) {
  const int64x2_t even_low = vreinterpretq_s64_s32(vtrn1q_s32(x[0], x[1]));
  const int64x2_t odd_low = vreinterpretq_s64_s32(vtrn2q_s32(x[0], x[1]));
  const int64x2_t even_high = vreinterpretq_s64_s32(vtrn1q_s32(x[2], x[3]));
  const int64x2_t odd_high = vreinterpretq_s64_s32(vtrn2q_s32(x[2], x[3]));
  x[0] = vreinterpretq_s32_s64(vtrn1q_s64(even_low, even_high));
  x[1] = vreinterpretq_s32_s64(vtrn1q_s64(odd_low, odd_high));
  x[2] = vreinterpretq_s32_s64(vtrn2q_s64(even_low, even_high));
  x[3] = vreinterpretq_s32_s64(vtrn2q_s64(odd_low, odd_high));
}

/// Bytes [begin, begin + 16) of 4 rows that end at `row_bytes` (zeros from there on), as 4 columns
/// of words. Rows from `rows` on hold `filler`.
inline void load_columns(const void* from, std::int64_t row_bytes, std::int64_t rows,
                         std::int64_t begin, std::uint32_t filler, int32x4_t (&x)[4]) {
  const std::int64_t rest = row_bytes - begin;
  const char* at = static_cast<const char*>(from) + begin;
  for (int r = 0; r < 4; ++r) {
    if (r >= rows) {
      x[r] = vdupq_n_s32(static_cast<std::int32_t>(filler));
      continue;
    }
    __builtin_prefetch(at + r * row_bytes + 512);
    alignas(16) std::int32_t part[4] = {};
    __builtin_memcpy(part, at + r * row_bytes, rest >= 16 ? 16 : static_cast<std::size_t>(rest));
    x[r] = vld1q_s32(part);
  }
  transpose(x);
}

}  // namespace
}  // namespace krait
