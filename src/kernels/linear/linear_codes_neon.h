// What the levels of NEON share of codes: all but how decoded weights are multiplied. Included by
// one file per level; as pure as linear_avx512.cc.
//
// A register holds the words of 4 rows. Windows are cut out of 16 bits each; one tbl of four
// registers looks 16 of them up.
#pragma once

#include <arm_neon.h>

#include <cstdint>

#include "kernels/linear/linear_codes_blocks.h"
#include "kernels/linear/linear_codes_windows.h"

namespace krait {
namespace {

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

/// Four consecutive bytes of one token, for 4 rows.
inline int8x16_t broadcast4(const std::int8_t* x) {
  std::int32_t four;
  __builtin_memcpy(&four, x, 4);
  return vreinterpretq_s8_s32(vdupq_n_s32(four));
}

/// Adds sums of one group, 4 rows each, to y of one token.
inline void add_scaled(const GroupBlock& b, const int32x4_t (&sum)[4], float* y) {
  for (int q = 0; q < 4; ++q) {
    const uint16x4_t bits = vreinterpret_u16_u8(vld1_u8(b.scales + 8 * q));
    const float32x4_t scale = vreinterpretq_f32_u32(vshll_n_u16(bits, 16));
    vst1q_f32(y + 4 * q, vfmaq_f32(vld1q_f32(y + 4 * q), vcvtq_f32_s32(sum[q]), scale));
  }
}

template <int bits>
constexpr CodeWindows kWindows = code_windows(bits);

/// Products: how bytes are multiplied, see linear_codes_neon.cc.
template <typename Products>
struct Neon {
  static constexpr int kTileRows = 1;
  static constexpr int kTokens = Products::kTokens;

  template <int bits, int values>
  static void decode(const std::uint8_t* words, std::int64_t columns, const std::int8_t* table,
                     std::int8_t* tiles) {
    constexpr int steps = steps_of(bits);
    constexpr CodeWindows const& at = kWindows<bits>;
    const int8x16x4_t all = {vld1q_s8(table), vld1q_s8(table + 16), vld1q_s8(table + 32),
                             vld1q_s8(table + 48)};
    for (std::int64_t k = 0; k < columns; k += 4 * steps, tiles += 64 * steps) {
      __builtin_prefetch(words + 2048);
#pragma GCC unroll 4
      for (int q = 0; q < 4; ++q) {
        const int odd = q % 2;
        const uint8x16_t word = vld1q_u8(words + (bits == 3 ? 12 * q - 4 * odd : 16 * q));
#pragma GCC unroll 4
        for (int m = 0; m < steps; ++m) {
          const int16x8_t down = vnegq_s16(vreinterpretq_s16_u16(vld1q_u16(at.shift[m])));
          const uint8x16_t low = vqtbl1q_u8(word, vld1q_u8(at.bytes[m][0][odd]));
          const uint8x16_t high = vqtbl1q_u8(word, vld1q_u8(at.bytes[m][1][odd]));
          const uint8x16_t windows =
              vuzp1q_u8(vreinterpretq_u8_u16(vshlq_u16(vreinterpretq_u16_u8(low), down)),
                        vreinterpretq_u8_u16(vshlq_u16(vreinterpretq_u16_u8(high), down)));
          const uint8x16_t index = vandq_u8(windows, vdupq_n_u8(values - 1));
          vst1q_s8(tiles + 64 * m + 16 * q,
                   values == 16 ? vqtbl1q_s8(all.val[0], index) : vqtbl4q_s8(all, index));
        }
      }
      words += bits == 3 ? 48 : 64;
    }
  }

  template <int R, int C>
  static void multiply(const GroupBlock& b) {
    static_assert(R == 1);
    Products::template multiply<C>(b);
  }

  static void finish(const CodesProduct& p, std::int64_t token, std::int64_t row, const float* y) {
    const float32x4_t x_scale = vdupq_n_f32(p.x_scale[token * p.x_scale_step]);
    for (std::int64_t end = row + 16; row < end && row < p.w.rows; row += 4, y += 4) {
      const std::int64_t rest = p.w.rows - row;
      float32x4_t scaled = vmulq_f32(vld1q_f32(y), x_scale);
      if (p.bias) scaled = vaddq_f32(scaled, load_first(p.bias + row, rest));
      store_first(p.y + token * p.y_stride + row, scaled, rest);
    }
  }
};

}  // namespace
}  // namespace krait
