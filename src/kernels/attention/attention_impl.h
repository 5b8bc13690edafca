// attention_kernels.h over Vec: included by one file per instruction set, after its vec header.
#pragma once

#include "kernels/attention/attention_kernels.h"
#include "kernels/vec_math.h"

namespace krait {
namespace {

void rotate(float* x, const float* cos, const float* sin, std::int64_t half) {
  for_blocks<kLanes>(half, [&](std::int64_t i, auto part) {
    const Vec a = load(x + i, part), b = load(x + half + i, part);
    const Vec c = load(cos + i, part), s = load(sin + i, part);
    store(x + i, a * c - b * s, part);
    store(x + half + i, b * c + a * s, part);
  });
}

float exponentials(float* s, std::int64_t n, float scale) {
  constexpr int sum_lanes = 16, vecs = sum_lanes / kLanes;
  const Vec factor = broadcast(scale);
  Vec most = broadcast(s[0] * scale);
  std::int64_t whole = 0;
  for (; whole + kLanes <= n; whole += kLanes) {
    const Vec x = load(s + whole, Whole{}) * factor;
    store(s + whole, x, Whole{});
    most = max(x, most);
  }
  float lane[sum_lanes];
  store(lane, most, Whole{});
  float m = lane[0];
  for (int l = 1; l < kLanes; ++l) m = lane[l] > m ? lane[l] : m;
  for (std::int64_t i = whole; i < n; ++i) {
    s[i] *= scale;
    m = s[i] > m ? s[i] : m;
  }

  Vec sum[vecs];
  for (Vec& v : sum) v = broadcast(0.0f);
  int v = 0;
  for_blocks<kLanes>(n, [&](std::int64_t i, auto part) {
    store(s + i, exp(load(s + i, part) - broadcast(m)), part);
    sum[v] = sum[v] + load(s + i, part);  // the padding is 0 again
    v = v + 1 < vecs ? v + 1 : 0;
  });
  for (int w = 0; w < vecs; ++w) store(lane + w * kLanes, sum[w], Whole{});
  for (int half = sum_lanes / 2; half > 0; half /= 2) {
    for (int l = 0; l < half; ++l) lane[l] += lane[l + half];
  }
  return lane[0];
}

/// `rows` rows and `vecs` vectors of columns of o stay in registers over all keys.
template <int rows, int vecs, typename P>
void add_weighted_tile(const float* p, std::int64_t p_stride, const float* v, std::int64_t keys,
                       std::int64_t cols, float* o, P part) {
  Vec sum[rows][vecs];
  for (int r = 0; r < rows; ++r) {
    for (int c = 0; c < vecs; ++c) sum[r][c] = load(o + r * cols + c * kLanes, part);
  }
  for (std::int64_t j = 0; j < keys; ++j) {
    Vec value[vecs];
    for (int c = 0; c < vecs; ++c) value[c] = load(v + j * cols + c * kLanes, part);
    for (int r = 0; r < rows; ++r) {
      const Vec weight = broadcast(p[r * p_stride + j]);
      for (int c = 0; c < vecs; ++c) sum[r][c] = fma(weight, value[c], sum[r][c]);
    }
  }
  for (int r = 0; r < rows; ++r) {
    for (int c = 0; c < vecs; ++c) store(o + r * cols + c * kLanes, sum[r][c], part);
  }
}

template <int rows>
void add_weighted_rows(const float* p, std::int64_t p_stride, const float* v, std::int64_t keys,
                       std::int64_t cols, float* o) {
  constexpr int vecs = !kInRegisters ? 1 : rows == 1 ? 4 : 2;
  std::int64_t c = 0;
  for (; c + vecs * kLanes <= cols; c += vecs * kLanes) {
    add_weighted_tile<rows, vecs>(p, p_stride, v + c, keys, cols, o + c, Whole{});
  }
  for_blocks<kLanes>(cols - c, [&](std::int64_t i, auto part) {
    add_weighted_tile<rows, 1>(p, p_stride, v + c + i, keys, cols, o + c + i, part);
  });
}

void add_weighted(const float* p, std::int64_t p_stride, std::int64_t rows, const float* v,
                  std::int64_t keys, std::int64_t cols, float* o) {
  constexpr int tile = kInRegisters ? 4 : 1;
  std::int64_t r = 0;
  for (; r + tile <= rows; r += tile) {
    add_weighted_rows<tile>(p + r * p_stride, p_stride, v, keys, cols, o + r * cols);
  }
  for (; r < rows; ++r) {
    add_weighted_rows<1>(p + r * p_stride, p_stride, v, keys, cols, o + r * cols);
  }
}

void divide(const float* x, float divisor, float* y, std::int64_t n) {
  const Vec d = broadcast(divisor);
  for_blocks<kLanes>(n,
                     [&](std::int64_t i, auto part) { store(y + i, load(x + i, part) / d, part); });
}

void widen_f16(const std::uint16_t* x, float* y, std::int64_t n) {
  for_blocks<kLanes>(n,
                     [&](std::int64_t i, auto part) { store(y + i, load_f16(x + i, part), part); });
}

void narrow_f16(const float* x, std::uint16_t* y, std::int64_t n) {
  for_blocks<kLanes>(n,
                     [&](std::int64_t i, auto part) { store_f16(y + i, load(x + i, part), part); });
}

constexpr AttentionKernels kAttentionKernels{rotate, exponentials, add_weighted,
                                             divide, widen_f16,    narrow_f16};

}  // namespace
}  // namespace krait
