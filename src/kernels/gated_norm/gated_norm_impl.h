// gated_norm_kernels.h over Vec: included by one file per instruction set, after its vec header.
#pragma once

#include "kernels/gated_norm/gated_norm_kernels.h"
#include "kernels/vec_math.h"

namespace krait {
namespace {

constexpr int kSumLanes = 16;
constexpr int kVecsPerSum = kSumLanes / kLanes;

float gate_sum_of_squares(float* v, const float* z, std::int64_t n) {
  Vec lanes[kVecsPerSum];
  for (Vec& sum : lanes) sum = broadcast(0.0f);
  const auto gate = [&](std::int64_t i, int vec, auto part) {
    const Vec x = load(v + i, part) * silu(load(z + i, part));
    store(v + i, x, part);
    lanes[vec] = fma(x, x, lanes[vec]);
  };
  std::int64_t i = 0;
  for (; i + kSumLanes <= n; i += kSumLanes) {
    for (int k = 0; k < kVecsPerSum; ++k) gate(i + k * kLanes, k, Whole{});
  }
  int vec = 0;
  for_blocks<kLanes>(n - i, [&](std::int64_t rest, auto part) { gate(i + rest, vec++, part); });
  float sum[kSumLanes];
  for (int k = 0; k < kVecsPerSum; ++k) store(sum + k * kLanes, lanes[k], Whole{});
  for (int half = kSumLanes / 2; half > 0; half /= 2) {
    for (int l = 0; l < half; ++l) sum[l] += sum[l + half];
  }
  return sum[0];
}

constexpr GatedNormKernels kGatedNormKernels{gate_sum_of_squares};

}  // namespace
}  // namespace krait
