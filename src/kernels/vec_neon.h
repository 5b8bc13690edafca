// Vec of 8 lanes in two registers of NEON (Armv8.0), of which there are as many as AVX2 has: what
// suits one suits the other. What each operation means: vec_reference.h.
#pragma once

#include <arm_neon.h>

#include "kernels/vec_blocks.h"

namespace krait {
namespace {

constexpr int kLanes = 8;
constexpr bool kInRegisters = true;

struct Vec {
  float32x4_t low, high;
};
struct Ints {
  int32x4_t low, high;
};

/// The first `part.lanes` elements, then zeros.
template <typename T>
struct Filled {
  Filled(const T* p, Part part) {
    for (int l = 0; l < part.lanes; ++l) lane[l] = p[l];
  }
  alignas(16) T lane[kLanes] = {};
};

inline Vec load(const float* p, Whole) { return {vld1q_f32(p), vld1q_f32(p + 4)}; }
inline Vec load(const float* p, Part part) { return load(Filled<float>(p, part).lane, Whole{}); }
inline void store(float* p, Vec x, Whole) {
  vst1q_f32(p, x.low);
  vst1q_f32(p + 4, x.high);
}
inline void store(float* p, Vec x, Part part) {
  alignas(16) float whole[kLanes];
  store(whole, x, Whole{});
  for (int l = 0; l < part.lanes; ++l) p[l] = whole[l];
}

inline Ints load_i8(const std::int8_t* p, Whole) {
  const int16x8_t words = vmovl_s8(vld1_s8(p));
  return {vmovl_s16(vget_low_s16(words)), vmovl_high_s16(words)};
}
inline Ints load_i8(const std::int8_t* p, Part part) {
  return load_i8(Filled<std::int8_t>(p, part).lane, Whole{});
}
inline void store_i8(std::int8_t* p, Ints q, Whole) {
  vst1_s8(p, vqmovn_s16(vcombine_s16(vqmovn_s32(q.low), vqmovn_s32(q.high))));
}
inline void store_i8(std::int8_t* p, Ints q, Part part) {
  alignas(8) std::int8_t whole[kLanes];
  store_i8(whole, q, Whole{});
  for (int l = 0; l < part.lanes; ++l) p[l] = whole[l];
}

inline float16x8_t to_f16(Vec x) { return vcvt_high_f16_f32(vcvt_f16_f32(x.low), x.high); }
inline Vec from_f16(float16x8_t h) { return {vcvt_f32_f16(vget_low_f16(h)), vcvt_high_f32_f16(h)}; }
inline Vec load_f16(const std::uint16_t* p, Whole) {
  return from_f16(vreinterpretq_f16_u16(vld1q_u16(p)));
}
inline Vec load_f16(const std::uint16_t* p, Part part) {
  return load_f16(Filled<std::uint16_t>(p, part).lane, Whole{});
}
inline void store_f16(std::uint16_t* p, Vec x, Whole) {
  vst1q_u16(p, vreinterpretq_u16_f16(to_f16(x)));
}
inline void store_f16(std::uint16_t* p, Vec x, Part part) {
  alignas(16) std::uint16_t whole[kLanes];
  store_f16(whole, x, Whole{});
  for (int l = 0; l < part.lanes; ++l) p[l] = whole[l];
}
inline Vec round_to_f16(Vec x) { return from_f16(to_f16(x)); }

inline Vec broadcast(float x) { return {vdupq_n_f32(x), vdupq_n_f32(x)}; }
inline Vec operator+(Vec a, Vec b) { return {vaddq_f32(a.low, b.low), vaddq_f32(a.high, b.high)}; }
inline Vec operator-(Vec a, Vec b) { return {vsubq_f32(a.low, b.low), vsubq_f32(a.high, b.high)}; }
inline Vec operator*(Vec a, Vec b) { return {vmulq_f32(a.low, b.low), vmulq_f32(a.high, b.high)}; }
inline Vec operator/(Vec a, Vec b) { return {vdivq_f32(a.low, b.low), vdivq_f32(a.high, b.high)}; }
inline Vec fma(Vec a, Vec b, Vec c) {
  return {vfmaq_f32(c.low, a.low, b.low), vfmaq_f32(c.high, a.high, b.high)};
}
// FMAX and FMIN would give NaN if a alone is NaN, and order the zeros.
inline Vec max(Vec a, Vec b) {
  return {vbslq_f32(vcgtq_f32(a.low, b.low), a.low, b.low),
          vbslq_f32(vcgtq_f32(a.high, b.high), a.high, b.high)};
}
inline Vec min(Vec a, Vec b) {
  return {vbslq_f32(vcltq_f32(a.low, b.low), a.low, b.low),
          vbslq_f32(vcltq_f32(a.high, b.high), a.high, b.high)};
}
inline float32x4_t max_magnitude(float32x4_t a, float32x4_t b) {
  return vreinterpretq_f32_s32(vmaxq_s32(vreinterpretq_s32_f32(a), vreinterpretq_s32_f32(b)));
}
/// The larger of two magnitudes, NaN being the largest.
inline Vec max_magnitude(Vec a, Vec b) {
  return {max_magnitude(a.low, b.low), max_magnitude(a.high, b.high)};
}
inline Vec abs(Vec x) { return {vabsq_f32(x.low), vabsq_f32(x.high)}; }
inline Vec to_float(Ints q) { return {vcvtq_f32_s32(q.low), vcvtq_f32_s32(q.high)}; }
inline Ints round_to_int(Vec x) { return {vcvtnq_s32_f32(x.low), vcvtnq_s32_f32(x.high)}; }
inline float32x4_t add_exponent(float32x4_t p, float32x4_t t) {
  const int32x4_t n = vshlq_n_s32(vreinterpretq_s32_f32(t), 23);
  return vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(p), n));
}
inline Vec add_exponent(Vec p, Vec t) {
  return {add_exponent(p.low, t.low), add_exponent(p.high, t.high)};
}

template <int stride>
inline float32x4_t butterfly(float32x4_t x) {
  static_assert(stride == 1 || stride == 2);
  const float32x4_t other = stride == 1 ? vrev64q_f32(x) : vextq_f32(x, x, 2);
  constexpr std::uint32_t all = 0xffffffffu;
  const uint32x4_t upper = stride == 1 ? uint32x4_t{0, all, 0, all} : uint32x4_t{0, 0, all, all};
  return vbslq_f32(upper, vsubq_f32(other, x), vaddq_f32(x, other));
}
template <int stride>
inline Vec butterfly(Vec x) {
  if constexpr (stride == 4) {
    return {vaddq_f32(x.low, x.high), vsubq_f32(x.low, x.high)};
  } else {
    return {butterfly<stride>(x.low), butterfly<stride>(x.high)};
  }
}

inline Vec lookup(const float* table, Ints index) {
  const uint8x16x2_t bytes = {
      {vreinterpretq_u8_f32(vld1q_f32(table)), vreinterpretq_u8_f32(vld1q_f32(table + 4))}};
  const int32x4_t four = vdupq_n_s32(0x04040404), within = vdupq_n_s32(0x03020100);
  const auto pick = [&](int32x4_t i) {
    return vreinterpretq_f32_u8(
        vqtbl2q_u8(bytes, vreinterpretq_u8_s32(vmlaq_s32(within, i, four))));
  };
  return {pick(index.low), pick(index.high)};
}

inline Ints broadcast_int(std::uint32_t x) {
  const int32x4_t all = vdupq_n_s32(static_cast<std::int32_t>(x));
  return {all, all};
}
inline Ints operator+(Ints a, Ints b) {
  return {vaddq_s32(a.low, b.low), vaddq_s32(a.high, b.high)};
}
inline Ints operator*(Ints a, Ints b) {
  return {vmulq_s32(a.low, b.low), vmulq_s32(a.high, b.high)};
}
template <int bits>
inline Ints shift_right_signed(Ints a) {
  return {vshrq_n_s32(a.low, bits), vshrq_n_s32(a.high, bits)};
}

inline Ints zero_ints() { return broadcast_int(0); }
inline Ints multiply_add(Ints acc, Ints a, Ints b) {
  return {vmlaq_s32(acc.low, a.low, b.low), vmlaq_s32(acc.high, a.high, b.high)};
}

}  // namespace
}  // namespace krait
