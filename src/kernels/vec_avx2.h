// Vec of 8 lanes in AVX2, FMA and F16C. What each operation means: vec_reference.h.
#pragma once

#include <immintrin.h>

#include "kernels/vec_blocks.h"

namespace krait {
namespace {

constexpr int kLanes = 8;
constexpr bool kInRegisters = true;

struct Vec {
  __m256 v;
};
struct Ints {
  __m256i v;
};

inline __m256i mask(Part part) {
  const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(part.lanes), index);
}

inline Vec load(const float* p, Whole) { return {_mm256_loadu_ps(p)}; }
inline Vec load(const float* p, Part part) { return {_mm256_maskload_ps(p, mask(part))}; }
inline void store(float* p, Vec x, Whole) { _mm256_storeu_ps(p, x.v); }
inline void store(float* p, Vec x, Part part) { _mm256_maskstore_ps(p, mask(part), x.v); }

inline Ints load_i8(const std::int8_t* p, Whole) {
  return {_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)))};
}
inline Ints load_i8(const std::int8_t* p, Part part) {
  alignas(8) std::int8_t whole[8] = {};
  for (int l = 0; l < part.lanes; ++l) whole[l] = p[l];
  return load_i8(whole, Whole{});
}
inline void store_i8(std::int8_t* p, Ints q, Whole) {
  const __m128i words =
      _mm_packs_epi32(_mm256_castsi256_si128(q.v), _mm256_extracti128_si256(q.v, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi16(words, words));
}
inline void store_i8(std::int8_t* p, Ints q, Part part) {
  alignas(8) std::int8_t whole[8];
  store_i8(whole, q, Whole{});
  for (int l = 0; l < part.lanes; ++l) p[l] = whole[l];
}

inline __m128i to_f16(Vec x) { return _mm256_cvtps_ph(x.v, _MM_FROUND_TO_NEAREST_INT); }
inline Vec load_f16(const std::uint16_t* p, Whole) {
  return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
}
inline Vec load_f16(const std::uint16_t* p, Part part) {
  alignas(16) std::uint16_t whole[8] = {};
  for (int l = 0; l < part.lanes; ++l) whole[l] = p[l];
  return load_f16(whole, Whole{});
}
inline void store_f16(std::uint16_t* p, Vec x, Whole) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), to_f16(x));
}
inline void store_f16(std::uint16_t* p, Vec x, Part part) {
  alignas(16) std::uint16_t whole[8];
  store_f16(whole, x, Whole{});
  for (int l = 0; l < part.lanes; ++l) p[l] = whole[l];
}
inline Vec round_to_f16(Vec x) { return {_mm256_cvtph_ps(to_f16(x))}; }

inline Vec broadcast(float x) { return {_mm256_set1_ps(x)}; }
inline Vec operator+(Vec a, Vec b) { return {_mm256_add_ps(a.v, b.v)}; }
inline Vec operator-(Vec a, Vec b) { return {_mm256_sub_ps(a.v, b.v)}; }
inline Vec operator*(Vec a, Vec b) { return {_mm256_mul_ps(a.v, b.v)}; }
inline Vec operator/(Vec a, Vec b) { return {_mm256_div_ps(a.v, b.v)}; }
inline Vec fma(Vec a, Vec b, Vec c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
inline Vec max(Vec a, Vec b) { return {_mm256_max_ps(a.v, b.v)}; }
inline Vec min(Vec a, Vec b) { return {_mm256_min_ps(a.v, b.v)}; }
/// The larger of two magnitudes, NaN being the largest.
inline Vec max_magnitude(Vec a, Vec b) {
  return {
      _mm256_castsi256_ps(_mm256_max_epi32(_mm256_castps_si256(a.v), _mm256_castps_si256(b.v)))};
}
inline Vec abs(Vec x) { return {_mm256_andnot_ps(_mm256_set1_ps(-0.0f), x.v)}; }
inline Vec to_float(Ints q) { return {_mm256_cvtepi32_ps(q.v)}; }
inline Ints round_to_int(Vec x) { return {_mm256_cvtps_epi32(x.v)}; }
inline Vec add_exponent(Vec p, Vec t) {
  const __m256i n = _mm256_slli_epi32(_mm256_castps_si256(t.v), 23);
  return {_mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p.v), n))};
}

template <int stride>
inline Vec butterfly(Vec x) {
  static_assert(stride == 1 || stride == 2 || stride == 4);
  constexpr int upper = stride == 1 ? 0xaa : stride == 2 ? 0xcc : 0xf0;
  __m256 other;
  if constexpr (stride <= 2) {
    other = _mm256_permute_ps(x.v, stride == 1 ? 0xb1 : 0x4e);
  } else {
    other = _mm256_permute2f128_ps(x.v, x.v, 1);
  }
  return {_mm256_blend_ps(_mm256_add_ps(x.v, other), _mm256_sub_ps(other, x.v), upper)};
}

inline Vec lookup(const float* table, Ints index) {
  return {_mm256_permutevar8x32_ps(_mm256_loadu_ps(table), index.v)};
}

inline Ints broadcast_int(std::uint32_t x) {
  return {_mm256_set1_epi32(static_cast<std::int32_t>(x))};
}
inline Ints operator+(Ints a, Ints b) { return {_mm256_add_epi32(a.v, b.v)}; }
inline Ints operator*(Ints a, Ints b) { return {_mm256_mullo_epi32(a.v, b.v)}; }
template <int bits>
inline Ints shift_right_signed(Ints a) {
  return {_mm256_srai_epi32(a.v, bits)};
}

inline Ints zero_ints() { return {_mm256_setzero_si256()}; }
/// With b's upper half word cleared, the pairwise 16-bit multiplication is the 32-bit product.
inline Ints multiply_add(Ints acc, Ints a, Ints b) {
  const __m256i low = _mm256_and_si256(b.v, _mm256_set1_epi32(0xffff));
  return {_mm256_add_epi32(acc.v, _mm256_madd_epi16(a.v, low))};
}

}  // namespace
}  // namespace krait
