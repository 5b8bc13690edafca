// norm_kernels.h over Vec: included by one file per instruction set, after its vec header.
#pragma once

#include "kernels/norm/norm_kernels.h"

namespace krait {
namespace {

constexpr int kSumLanes = 16;
constexpr int kVecsPerSum = kSumLanes / kLanes;

/// Lane l of 16 takes what element() makes of k = l, l + 16, ...; then the lanes are added as a
/// tree: l + (l + 8), then + 4, + 2, + 1. element(i, lanes, part) gets elements i to i + kLanes.
template <typename Element>
float sum_in_lanes(std::int64_t n, Element element) {
  Vec lanes[kVecsPerSum];
  for (Vec& v : lanes) v = broadcast(0.0f);
  std::int64_t i = 0;
  for (; i + kSumLanes <= n; i += kSumLanes) {
    for (int v = 0; v < kVecsPerSum; ++v) {
      lanes[v] = element(i + v * kLanes, lanes[v], Whole{});
    }
  }
  int vec = 0;
  for_blocks<kLanes>(n - i, [&](std::int64_t rest, auto part) {
    lanes[vec] = element(i + rest, lanes[vec], part);
    ++vec;
  });
  float sum[kSumLanes];
  for (int v = 0; v < kVecsPerSum; ++v) store(sum + v * kLanes, lanes[v], Whole{});
  for (int half = kSumLanes / 2; half > 0; half /= 2) {
    for (int l = 0; l < half; ++l) sum[l] += sum[l + half];
  }
  return sum[0];
}

/// r += a, if there is one.
template <typename P>
Vec add_to(float* r, const float* a, std::int64_t i, P part) {
  Vec x = load(r + i, part);
  if (a) {
    x = x + load(a + i, part);
    store(r + i, x, part);
  }
  return x;
}

float add_sum_of_squares(float* r, const float* a, std::int64_t n) {
  return sum_in_lanes(n, [&](std::int64_t i, Vec lanes, auto part) {
    const Vec x = add_to(r, a, i, part);
    return fma(x, x, lanes);
  });
}

float add_sum(float* r, const float* a, std::int64_t n) {
  return sum_in_lanes(
      n, [&](std::int64_t i, Vec lanes, auto part) { return lanes + add_to(r, a, i, part); });
}

float center(const float* r, float mean, float* y, std::int64_t n) {
  const Vec m = broadcast(mean);
  return sum_in_lanes(n, [&](std::int64_t i, Vec lanes, auto part) {
    store(y + i, load(r + i, part) - m, part);
    const Vec d = load(y + i, part);  // the padding is 0 again
    return fma(d, d, lanes);
  });
}

void scale_shift(float factor, const float* weight, const float* bias, float* y, std::int64_t n) {
  const Vec s = broadcast(factor);
  for_blocks<kLanes>(n, [&](std::int64_t i, auto part) {
    store(y + i, fma(load(y + i, part) * s, load(weight + i, part), load(bias + i, part)), part);
  });
}

void scale(const float* r, float factor, const float* weight, float* y, std::int64_t n) {
  const Vec s = broadcast(factor);
  for_blocks<kLanes>(n, [&](std::int64_t i, auto part) {
    store(y + i, (load(r + i, part) * s) * load(weight + i, part), part);
  });
}

constexpr NormKernels kNormKernels{add_sum_of_squares, scale, add_sum, center, scale_shift};

}  // namespace
}  // namespace krait
