// What the levels of NEON share.
#pragma once

#include <arm_neon.h>

#include "kernels/machine/machine_kernels.h"

namespace krait {
namespace {

// Enough independent sums to hide the latency of two pipes, few enough for 32 registers.
constexpr int kChains = 16;

std::uint32_t add_chains(const int32x4_t (&sum)[kChains]) {
  int32x4_t total = sum[0];
  for (int c = 1; c < kChains; ++c) total = vaddq_s32(total, sum[c]);
  return static_cast<std::uint32_t>(vaddvq_s32(total));
}

std::uint32_t read(const void* data, std::size_t bytes) {
  const auto* p = static_cast<const std::int32_t*>(data);
  int32x4_t sum[kChains] = {};
  for (std::size_t i = 0; i < bytes / 4; i += 4 * kChains) {
#pragma GCC unroll 16
    for (std::size_t c = 0; c < kChains; ++c) sum[c] = vaddq_s32(sum[c], vld1q_s32(p + i + 4 * c));
  }
  return add_chains(sum);
}

/// sum = multiply(sum, a, b) in every chain; each lane of 32 bits must gain products of 3 and -5.
template <typename Multiply>
std::uint32_t int8_chains(std::int64_t rounds, Multiply multiply) {
  volatile std::int8_t seed_a = 3, seed_b = -5;
  int8x16_t a = vdupq_n_s8(seed_a);
  const int8x16_t b = vdupq_n_s8(seed_b);
  int32x4_t sum[kChains] = {};
  for (int32x4_t& s : sum) asm volatile("" : "+w"(s));  // or equal chains become one
  for (std::int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 16
    for (int c = 0; c < kChains; ++c) {
      asm volatile("" : "+w"(a));  // keeps the product inside the loop
      sum[c] = multiply(sum[c], a, b);
    }
  }
  return add_chains(sum);
}

float fp32_fma(std::int64_t rounds) {
  volatile float seed_a = 0.5f, seed_b = 0.25f;
  const float32x4_t a = vdupq_n_f32(seed_a), b = vdupq_n_f32(seed_b);
  float32x4_t sum[kChains];
  for (int c = 0; c < kChains; ++c) sum[c] = vdupq_n_f32(static_cast<float>(c));
  for (std::int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 16
    for (int c = 0; c < kChains; ++c) sum[c] = vfmaq_f32(b, sum[c], a);
  }
  float total = 0;
  for (const float32x4_t& s : sum) total += vaddvq_f32(s);
  return total;
}

}  // namespace
}  // namespace krait
