// AVX2: bytes are multiplied by vpmaddubsw and widened by vpmaddwd, as int8 products must be there.
#include "kernels/machine/machine_avx2.h"

namespace krait {
namespace {

std::uint32_t int8_dot(std::int64_t rounds) {
  volatile char seed_a = 3, seed_b = -5;
  __m256i a = _mm256_set1_epi8(seed_a);
  const __m256i b = _mm256_set1_epi8(seed_b), ones = _mm256_set1_epi16(1);
  __m256i sum[kChains] = {};
  for (__m256i& s : sum) asm volatile("" : "+x"(s));  // or equal chains become one
  for (std::int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 10
    for (int c = 0; c < kChains; ++c) {
      asm volatile("" : "+x"(a));  // keeps the product inside the loop
      sum[c] = _mm256_add_epi32(sum[c], _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), ones));
    }
  }
  std::uint32_t total = 0;
  for (const __m256i& s : sum) total += add_lanes(s);
  return total;
}

}  // namespace

const MachineKernels machine_avx2 = {
    .read = read,
    .int8_dot = int8_dot,
    .int8_ops_per_round = 2 * 32 * kChains,
    .fp32_fma = fp32_fma,
    .fp32_flops_per_round = 2 * 8 * kChains,
};

}  // namespace krait
