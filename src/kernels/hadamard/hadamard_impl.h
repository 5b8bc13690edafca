// hadamard_kernels.h over Vec: included by one file per instruction set, after its vec header.
#pragma once

#include "kernels/hadamard/hadamard_kernels.h"

namespace krait {
namespace {

/// Butterflies of strides from, 2 from, ... below kLanes within one vector.
template <int from = 1>
inline Vec butterflies_within(Vec x) {
  if constexpr (from < kLanes) {
    return butterflies_within<2 * from>(butterfly<from>(x));
  } else {
    return x;
  }
}

struct Pair {
  Vec sum, difference;
};
inline Pair butterfly(Vec a, Vec b) { return {a + b, a - b}; }

/// Strides `stride` and 2 `stride` (whole vectors) in one pass over the row.
inline void two_strides(float* x, std::int64_t length, std::int64_t stride) {
  for (std::int64_t base = 0; base < length; base += 4 * stride) {
    for (std::int64_t j = base; j < base + stride; j += kLanes) {
      float* const p = x + j;
      const Pair low = butterfly(load(p, Whole{}), load(p + stride, Whole{}));
      const Pair high = butterfly(load(p + 2 * stride, Whole{}), load(p + 3 * stride, Whole{}));
      const Pair sums = butterfly(low.sum, high.sum);
      const Pair differences = butterfly(low.difference, high.difference);
      store(p, sums.sum, Whole{});
      store(p + stride, differences.sum, Whole{});
      store(p + 2 * stride, sums.difference, Whole{});
      store(p + 3 * stride, differences.difference, Whole{});
    }
  }
}

inline void one_stride(float* x, std::int64_t length, std::int64_t stride) {
  for (std::int64_t base = 0; base < length; base += 2 * stride) {
    for (std::int64_t j = base; j < base + stride; j += kLanes) {
      const Pair pair = butterfly(load(x + j, Whole{}), load(x + j + stride, Whole{}));
      store(x + j, pair.sum, Whole{});
      store(x + j + stride, pair.difference, Whole{});
    }
  }
}

/// Rows shorter than a vector.
inline void short_row(float* x, std::int64_t length) {
  for (std::int64_t stride = 1; stride < length; stride *= 2) {
    for (std::int64_t base = 0; base < length; base += 2 * stride) {
      for (std::int64_t j = base; j < base + stride; ++j) {
        const float a = x[j], b = x[j + stride];
        x[j] = a + b;
        x[j + stride] = a - b;
      }
    }
  }
}

inline void sylvester(float* x, std::int64_t length) {
  if (length < kLanes) return short_row(x, length);
  for (std::int64_t j = 0; j < length; j += kLanes) {
    store(x + j, butterflies_within(load(x + j, Whole{})), Whole{});
  }
  std::int64_t stride = kLanes;
  for (; 4 * stride <= length; stride *= 4) two_strides(x, length, stride);
  if (2 * stride <= length) one_stride(x, length, stride);
}

constexpr int kMaxOrder = 28;
constexpr int kTogether = 4;  // outputs summed side by side; divides 12, 20 and 28

/// Columns j, j + 1, ... of x, as many as `part` says: x <- scale * signs x. Takes a float: GCC
/// does not clear the upper halves of registers where a function that takes a vector returns, and
/// all SSE code after it would be many times slower.
template <typename P>
inline void sums_over_rows(float* x, std::int64_t m, std::int64_t length, const float* signs,
                           float scale, std::int64_t j, P part) {
  const Vec factor = broadcast(scale);
  Vec in[kMaxOrder];
  for (std::int64_t c = 0; c < m; ++c) in[c] = load(x + c * length + j, part);
  for (std::int64_t i = 0; i < m; i += kTogether) {
    const float* const row = signs + i * m;
    Vec sum[kTogether];
    for (int o = 0; o < kTogether; ++o) sum[o] = broadcast(row[o * m]) * in[0];
    // A product with +-1 is exact: these are additions and subtractions.
    for (std::int64_t c = 1; c < m; ++c) {
      for (int o = 0; o < kTogether; ++o) sum[o] = fma(broadcast(row[o * m + c]), in[c], sum[o]);
    }
    for (int o = 0; o < kTogether; ++o) {
      store(x + (i + o) * length + j, sum[o] * factor, part);
    }
  }
}

void transform(float* x, std::int64_t m, std::int64_t length, const float* signs, float factor) {
  for (std::int64_t c = 0; c < m; ++c) sylvester(x + c * length, length);
  const Vec f = broadcast(factor);
  for_blocks<kLanes>(length, [&](std::int64_t j, auto part) {
    if (m > 1) {
      sums_over_rows(x, m, length, signs, factor, j, part);
    } else {
      store(x + j, load(x + j, part) * f, part);
    }
  });
}

constexpr HadamardKernels kHadamardKernels{transform};

}  // namespace
}  // namespace krait
