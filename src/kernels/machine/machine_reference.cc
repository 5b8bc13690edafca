// Plain C++: what a machine without the instruction sets below does, and their yardstick in tests.
#include "kernels/machine/machine_kernels.h"

namespace krait {
namespace {

constexpr int kChains = 8;

std::uint32_t read(const void* data, std::size_t bytes) {
  const auto* words = static_cast<const std::uint32_t*>(data);
  std::uint32_t sum[16] = {};
  for (std::size_t i = 0; i < bytes / sizeof(std::uint32_t); i += 16) {
    for (std::size_t j = 0; j < 16; ++j) sum[j] += words[i + j];
  }
  std::uint32_t total = 0;
  for (const std::uint32_t s : sum) total += s;
  return total;
}

std::uint32_t int8_dot(std::int64_t rounds) {
  // volatile: operands that the compiler cannot know.
  volatile std::int8_t seed_a = 3, seed_b = -5;
  std::int8_t a[kChains], b = seed_b;
  std::uint32_t sum[kChains] = {};
  for (std::int8_t& x : a) x = seed_a;
  for (std::uint32_t& s : sum) asm volatile("" : "+r"(s));  // or equal chains become one
  for (std::int64_t r = 0; r < rounds; ++r) {
    for (int c = 0; c < kChains; ++c) {
      asm volatile("" : "+r"(a[c]));  // keeps the product inside the loop
      sum[c] += static_cast<std::uint32_t>(a[c] * b);
    }
  }
  std::uint32_t total = 0;
  for (const std::uint32_t s : sum) total += s;
  return total;
}

float fp32_fma(std::int64_t rounds) {
  volatile float seed_a = 0.5f, seed_b = 0.25f;
  const float a = seed_a, b = seed_b;
  float sum[kChains];
  for (int c = 0; c < kChains; ++c) sum[c] = static_cast<float>(c);
  for (std::int64_t r = 0; r < rounds; ++r) {
    for (float& s : sum) s = s * a + b;
  }
  float total = 0;
  for (const float s : sum) total += s;
  return total;
}

}  // namespace

const MachineKernels machine_reference = {
    .read = read,
    .int8_dot = int8_dot,
    .int8_ops_per_round = 2 * kChains,
    .fp32_fma = fp32_fma,
    .fp32_flops_per_round = 2 * kChains,
};

}  // namespace krait
