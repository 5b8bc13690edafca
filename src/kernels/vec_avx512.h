// Vec of 16 lanes in AVX-512 (F, BW, DQ, VL). What each operation means: vec_reference.h.
#pragma once

#include <immintrin.h>

#include "kernels/vec_blocks.h"

namespace krait {
namespace {

constexpr int kLanes = 16;
constexpr bool kInRegisters = true;

struct Vec {
  __m512 v;
};
struct Ints {
  __m512i v;
};

inline __mmask16 mask(Part part) { return static_cast<__mmask16>((1u << part.lanes) - 1u); }

inline Vec load(const float* p, Whole) { return {_mm512_loadu_ps(p)}; }
inline Vec load(const float* p, Part part) { return {_mm512_maskz_loadu_ps(mask(part), p)}; }
inline void store(float* p, Vec x, Whole) { _mm512_storeu_ps(p, x.v); }
inline void store(float* p, Vec x, Part part) { _mm512_mask_storeu_ps(p, mask(part), x.v); }

inline Ints load_i8(const std::int8_t* p, Whole) {
  return {_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
}
inline Ints load_i8(const std::int8_t* p, Part part) {
  return {_mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(mask(part), p))};
}
inline void store_i8(std::int8_t* p, Ints q, Whole) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtsepi32_epi8(q.v));
}
inline void store_i8(std::int8_t* p, Ints q, Part part) {
  _mm_mask_storeu_epi8(p, mask(part), _mm512_cvtsepi32_epi8(q.v));
}

inline __m256i to_f16(Vec x) { return _mm512_cvtps_ph(x.v, _MM_FROUND_TO_NEAREST_INT); }
inline Vec load_f16(const std::uint16_t* p, Whole) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
inline Vec load_f16(const std::uint16_t* p, Part part) {
  return {_mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask(part), p))};
}
inline void store_f16(std::uint16_t* p, Vec x, Whole) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), to_f16(x));
}
inline void store_f16(std::uint16_t* p, Vec x, Part part) {
  _mm256_mask_storeu_epi16(p, mask(part), to_f16(x));
}
inline Vec round_to_f16(Vec x) { return {_mm512_cvtph_ps(to_f16(x))}; }

inline Vec broadcast(float x) { return {_mm512_set1_ps(x)}; }
inline Vec operator+(Vec a, Vec b) { return {_mm512_add_ps(a.v, b.v)}; }
inline Vec operator-(Vec a, Vec b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline Vec operator*(Vec a, Vec b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline Vec operator/(Vec a, Vec b) { return {_mm512_div_ps(a.v, b.v)}; }
inline Vec fma(Vec a, Vec b, Vec c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline Vec max(Vec a, Vec b) { return {_mm512_max_ps(a.v, b.v)}; }
inline Vec min(Vec a, Vec b) { return {_mm512_min_ps(a.v, b.v)}; }
/// The larger of two magnitudes, NaN being the largest.
inline Vec max_magnitude(Vec a, Vec b) {
  return {
      _mm512_castsi512_ps(_mm512_max_epi32(_mm512_castps_si512(a.v), _mm512_castps_si512(b.v)))};
}
inline Vec abs(Vec x) { return {_mm512_abs_ps(x.v)}; }
inline Vec to_float(Ints q) { return {_mm512_cvtepi32_ps(q.v)}; }
inline Ints round_to_int(Vec x) { return {_mm512_cvtps_epi32(x.v)}; }
inline Vec add_exponent(Vec p, Vec t) {
  const __m512i n = _mm512_slli_epi32(_mm512_castps_si512(t.v), 23);
  return {_mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(p.v), n))};
}

template <int stride>
inline Vec butterfly(Vec x) {
  static_assert(stride == 1 || stride == 2 || stride == 4 || stride == 8);
  constexpr __mmask16 upper = stride == 1   ? 0xaaaa
                              : stride == 2 ? 0xcccc
                              : stride == 4 ? 0xf0f0
                                            : 0xff00;
  __m512 other;
  if constexpr (stride <= 2) {
    other = _mm512_permute_ps(x.v, stride == 1 ? 0xb1 : 0x4e);
  } else {
    other = _mm512_shuffle_f32x4(x.v, x.v, stride == 4 ? 0xb1 : 0x4e);
  }
  return {_mm512_mask_sub_ps(_mm512_add_ps(x.v, other), upper, other, x.v)};
}

inline Vec lookup(const float* table, Ints index) {
  return {_mm512_permutexvar_ps(index.v, _mm512_castps256_ps512(_mm256_loadu_ps(table)))};
}

inline Ints broadcast_int(std::uint32_t x) {
  return {_mm512_set1_epi32(static_cast<std::int32_t>(x))};
}
inline Ints operator+(Ints a, Ints b) { return {_mm512_add_epi32(a.v, b.v)}; }
inline Ints operator*(Ints a, Ints b) { return {_mm512_mullo_epi32(a.v, b.v)}; }
template <int bits>
inline Ints shift_right_signed(Ints a) {
  return {_mm512_srai_epi32(a.v, bits)};
}

inline Ints zero_ints() { return {_mm512_setzero_si512()}; }
/// With b's upper half word cleared, the pairwise 16-bit multiplication is the 32-bit product.
inline Ints multiply_add(Ints acc, Ints a, Ints b) {
  const __m512i low = _mm512_and_si512(b.v, _mm512_set1_epi32(0xffff));
  return {_mm512_add_epi32(acc.v, _mm512_madd_epi16(a.v, low))};
}

}  // namespace
}  // namespace krait
