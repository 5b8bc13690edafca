// AVX-512 with VNNI: 64 products of bytes and their sums in one vpdpbusd.
#include <immintrin.h>

#include <cstdint>

#include "kernels/machine/machine_kernels.h"

namespace krait {
namespace {

// Enough independent sums to hide the latency of two pipes.
constexpr int kChains = 16;

// Without the reduction intrinsics, whose header g++ 12 warns about.
std::uint32_t add_lanes(__m512i v) {
  std::uint32_t lanes[16], total = 0;
  _mm512_storeu_si512(lanes, v);
  for (const std::uint32_t x : lanes) total += x;
  return total;
}

std::uint32_t read(const void* data, std::size_t bytes) {
  const auto* p = static_cast<const __m512i*>(data);
  __m512i sum[4] = {};
  for (std::size_t i = 0; i < bytes / sizeof(__m512i); i += 4) {
    for (std::size_t j = 0; j < 4; ++j) {
      sum[j] = _mm512_add_epi32(sum[j], _mm512_load_si512(p + i + j));
    }
  }
  return add_lanes(
      _mm512_add_epi32(_mm512_add_epi32(sum[0], sum[1]), _mm512_add_epi32(sum[2], sum[3])));
}

std::uint32_t int8_dot(std::int64_t rounds) {
  volatile char seed_a = 3, seed_b = -5;
  const __m512i a = _mm512_set1_epi8(seed_a), b = _mm512_set1_epi8(seed_b);
  __m512i sum[kChains] = {};
  for (__m512i& s : sum) asm volatile("" : "+v"(s));  // or equal chains become one
  for (std::int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 16
    for (int c = 0; c < kChains; ++c) sum[c] = _mm512_dpbusd_epi32(sum[c], a, b);
  }
  std::uint32_t total = 0;
  for (const __m512i& s : sum) total += add_lanes(s);
  return total;
}

float fp32_fma(std::int64_t rounds) {
  volatile float seed_a = 0.5f, seed_b = 0.25f;
  const __m512 a = _mm512_set1_ps(seed_a), b = _mm512_set1_ps(seed_b);
  __m512 sum[kChains];
  for (int c = 0; c < kChains; ++c) sum[c] = _mm512_set1_ps(static_cast<float>(c));
  for (std::int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 16
    for (int c = 0; c < kChains; ++c) sum[c] = _mm512_fmadd_ps(sum[c], a, b);
  }
  float total = 0;
  for (const __m512& s : sum) {
    float lanes[16];
    _mm512_storeu_ps(lanes, s);
    for (const float x : lanes) total += x;
  }
  return total;
}

}  // namespace

const MachineKernels machine_avx512 = {
    .read = read,
    .int8_dot = int8_dot,
    .int8_ops_per_round = 2 * 64 * kChains,
    .fp32_fma = fp32_fma,
    .fp32_flops_per_round = 2 * 16 * kChains,
};

}  // namespace krait
