// norm_kernels.h over Vec: included by one file per instruction set, after its vec header.
#pragma once

#include "kernels/norm/norm_kernels.h"

namespace krait {
namespace {

constexpr int kSumLanes = 16;
constexpr int kVecsPerSum = kSumLanes / kLanes;

struct SumOfSquares {
  Vec lanes[kVecsPerSum];

  template <typename P>
  void add(float* r, const float* a, int vec, P part) {
    Vec x = load(r, part);
    if (a) {
      x = x + load(a, part);
      store(r, x, part);
    }
    lanes[vec] = fma(x, x, lanes[vec]);
  }

  float tree() const {
    float sum[kSumLanes];
    for (int v = 0; v < kVecsPerSum; ++v) store(sum + v * kLanes, lanes[v], Whole{});
    for (int half = kSumLanes / 2; half > 0; half /= 2) {
      for (int l = 0; l < half; ++l) sum[l] += sum[l + half];
    }
    return sum[0];
  }
};

float add_sum_of_squares(float* r, const float* a, std::int64_t n) {
  SumOfSquares sum;
  for (Vec& lanes : sum.lanes) lanes = broadcast(0.0f);
  std::int64_t i = 0;
  for (; i + kSumLanes <= n; i += kSumLanes) {
    for (int v = 0; v < kVecsPerSum; ++v) {
      sum.add(r + i + v * kLanes, a ? a + i + v * kLanes : nullptr, v, Whole{});
    }
  }
  int vec = 0;
  for_blocks<kLanes>(n - i, [&](std::int64_t rest, auto part) {
    sum.add(r + i + rest, a ? a + i + rest : nullptr, vec++, part);
  });
  return sum.tree();
}

void scale(const float* r, float factor, const float* weight, float* y, std::int64_t n) {
  const Vec s = broadcast(factor);
  for_blocks<kLanes>(n, [&](std::int64_t i, auto part) {
    store(y + i, (load(r + i, part) * s) * load(weight + i, part), part);
  });
}

constexpr NormKernels kNormKernels{add_sum_of_squares, scale};

}  // namespace
}  // namespace krait
