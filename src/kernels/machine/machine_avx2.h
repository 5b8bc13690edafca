// What the levels with registers of 256 bits share.
#pragma once

#include <immintrin.h>

#include "kernels/machine/machine_kernels.h"

namespace krait {
namespace {

// Enough independent sums to hide the latency of two pipes, few enough for 16 registers.
constexpr int kChains = 10;

std::uint32_t add_lanes(__m256i v) {
  const __m128i four = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  const __m128i two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
  return static_cast<std::uint32_t>(
      _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0xb1))));
}

std::uint32_t read(const void* data, std::size_t bytes) {
  const auto* p = static_cast<const __m256i*>(data);
  __m256i sum[4] = {};
  for (std::size_t i = 0; i < bytes / sizeof(__m256i); i += 4) {
    for (std::size_t j = 0; j < 4; ++j) {
      sum[j] = _mm256_add_epi32(sum[j], _mm256_load_si256(p + i + j));
    }
  }
  return add_lanes(
      _mm256_add_epi32(_mm256_add_epi32(sum[0], sum[1]), _mm256_add_epi32(sum[2], sum[3])));
}

float fp32_fma(std::int64_t rounds) {
  volatile float seed_a = 0.5f, seed_b = 0.25f;
  const __m256 a = _mm256_set1_ps(seed_a), b = _mm256_set1_ps(seed_b);
  __m256 sum[kChains];
  for (int c = 0; c < kChains; ++c) sum[c] = _mm256_set1_ps(static_cast<float>(c));
  for (std::int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 10
    for (int c = 0; c < kChains; ++c) sum[c] = _mm256_fmadd_ps(sum[c], a, b);
  }
  float total = 0;
  for (const __m256& s : sum) {
    float lanes[8];
    _mm256_storeu_ps(lanes, s);
    for (const float x : lanes) total += x;
  }
  return total;
}

}  // namespace
}  // namespace krait
