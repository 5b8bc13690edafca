// Vec in plain C++: the meaning of every operation that vec_avx2.h and vec_avx512.h must match to
// the bit (NaN payloads excepted). Partial loads fill with zeros.
#pragma once

#include "core/float16.h"
#include "kernels/vec_blocks.h"

namespace krait {
namespace {

constexpr int kLanes = 16;
constexpr bool kInRegisters = false;  // Vec is memory: unrolling only makes more code

struct Vec {
  float lane[kLanes];
};
struct Ints {
  std::int32_t lane[kLanes];
};

/// The result of f(l) in every lane l.
template <typename V, typename F>
inline V each_lane(F f) {
  V r;
  for (int l = 0; l < kLanes; ++l) r.lane[l] = f(l);
  return r;
}

inline int count(Whole) { return kLanes; }
inline int count(Part part) { return part.lanes; }

template <typename P>
inline Vec load(const float* p, P part) {
  return each_lane<Vec>([&](int l) { return l < count(part) ? p[l] : 0.0f; });
}
template <typename P>
inline void store(float* p, Vec x, P part) {
  for (int l = 0; l < count(part); ++l) p[l] = x.lane[l];
}
template <typename P>
inline Ints load_i8(const std::int8_t* p, P part) {
  return each_lane<Ints>([&](int l) { return l < count(part) ? std::int32_t{p[l]} : 0; });
}
/// Saturates to [-128, 127].
template <typename P>
inline void store_i8(std::int8_t* p, Ints q, P part) {
  for (int l = 0; l < count(part); ++l) {
    const std::int32_t v = q.lane[l];
    p[l] = static_cast<std::int8_t>(v < -128 ? -128 : v > 127 ? 127 : v);
  }
}
template <typename P>
inline Vec load_f16(const std::uint16_t* p, P part) {
  return each_lane<Vec>([&](int l) { return l < count(part) ? f16_to_f32(p[l]) : 0.0f; });
}
/// Rounds to nearest even.
template <typename P>
inline void store_f16(std::uint16_t* p, Vec x, P part) {
  for (int l = 0; l < count(part); ++l) p[l] = f32_to_f16(x.lane[l]);
}
inline Vec round_to_f16(Vec x) {
  return each_lane<Vec>([&](int l) { return f16_to_f32(f32_to_f16(x.lane[l])); });
}

inline Vec broadcast(float x) {
  return each_lane<Vec>([&](int) { return x; });
}
inline Vec operator+(Vec a, Vec b) {
  return each_lane<Vec>([&](int l) { return a.lane[l] + b.lane[l]; });
}
inline Vec operator-(Vec a, Vec b) {
  return each_lane<Vec>([&](int l) { return a.lane[l] - b.lane[l]; });
}
inline Vec operator*(Vec a, Vec b) {
  return each_lane<Vec>([&](int l) { return a.lane[l] * b.lane[l]; });
}
inline Vec operator/(Vec a, Vec b) {
  return each_lane<Vec>([&](int l) { return a.lane[l] / b.lane[l]; });
}
/// a * b + c with one rounding.
inline Vec fma(Vec a, Vec b, Vec c) {
  return each_lane<Vec>([&](int l) { return __builtin_fmaf(a.lane[l], b.lane[l], c.lane[l]); });
}
/// b if either is NaN.
inline Vec max(Vec a, Vec b) {
  return each_lane<Vec>([&](int l) { return a.lane[l] > b.lane[l] ? a.lane[l] : b.lane[l]; });
}
inline Vec min(Vec a, Vec b) {
  return each_lane<Vec>([&](int l) { return a.lane[l] < b.lane[l] ? a.lane[l] : b.lane[l]; });
}
/// The larger of two magnitudes, NaN being the largest.
inline Vec max_magnitude(Vec a, Vec b) {
  return each_lane<Vec>([&](int l) {
    return b.lane[l] <= a.lane[l] || a.lane[l] != a.lane[l] ? a.lane[l] : b.lane[l];
  });
}
inline Vec abs(Vec x) {
  return each_lane<Vec>([&](int l) { return __builtin_fabsf(x.lane[l]); });
}
inline Vec to_float(Ints q) {
  return each_lane<Vec>([&](int l) { return static_cast<float>(q.lane[l]); });
}
/// Rounds half to even; |x| < 2^22. Adding 1.5 * 2^23 leaves no room for a fraction.
inline Ints round_to_int(Vec x) {
  return each_lane<Ints>([&](int l) {
    const float shifted = x.lane[l] + 0x1.8p23f;
    return std::bit_cast<std::int32_t>(shifted) - std::bit_cast<std::int32_t>(0x1.8p23f);
  });
}
/// p * 2^n as integer arithmetic on p's bits, where n stands in the low bits of t = 1.5 * 2^23 + n.
inline Vec add_exponent(Vec p, Vec t) {
  return each_lane<Vec>([&](int l) {
    const auto n = std::bit_cast<std::uint32_t>(t.lane[l]) << 23;
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(p.lane[l]) + n);
  });
}

/// Lanes l and l ^ stride, a in the one without the bit `stride` and b in the other, become a + b
/// and a - b. stride is a power of two below kLanes.
template <int stride>
inline Vec butterfly(Vec x) {
  return each_lane<Vec>([&](int l) {
    const float other = x.lane[l ^ stride];
    return l & stride ? other - x.lane[l] : x.lane[l] + other;
  });
}

/// Table entry index[l] of 0 to 7 in lane l.
inline Vec lookup(const float* table, Ints index) {
  return each_lane<Vec>([&](int l) { return table[index.lane[l]]; });
}

// Integer arithmetic is modulo 2^32.
inline Ints broadcast_int(std::uint32_t x) {
  return each_lane<Ints>([&](int) { return static_cast<std::int32_t>(x); });
}
template <typename F>
inline Ints each_unsigned(Ints a, Ints b, F f) {
  return each_lane<Ints>([&](int l) {
    return static_cast<std::int32_t>(
        f(static_cast<std::uint32_t>(a.lane[l]), static_cast<std::uint32_t>(b.lane[l])));
  });
}
inline Ints operator+(Ints a, Ints b) {
  return each_unsigned(a, b, [](std::uint32_t x, std::uint32_t y) { return x + y; });
}
inline Ints operator*(Ints a, Ints b) {
  return each_unsigned(a, b, [](std::uint32_t x, std::uint32_t y) { return x * y; });
}
/// Fills with the sign.
template <int bits>
inline Ints shift_right_signed(Ints a) {
  return each_lane<Ints>([&](int l) { return a.lane[l] >> bits; });
}

inline Ints zero_ints() { return {}; }
/// acc + a * b for |a|, |b| < 2^15.
inline Ints multiply_add(Ints acc, Ints a, Ints b) {
  return each_lane<Ints>([&](int l) { return acc.lane[l] + a.lane[l] * b.lane[l]; });
}

}  // namespace
}  // namespace krait
