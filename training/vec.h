// Vectors of 16 floats, their loads and stores as float or bfloat16, exponentials, and a parallel
// loop: what the kernels of this directory share. Everything has internal linkage.

#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

#ifdef __AVX512F__
#include <immintrin.h>
#endif

namespace {

constexpr int LANES = 16;
constexpr int CHUNK = 32;  // steps between the states that a forward scan keeps
constexpr float LOG2_E = 1.44269504f;

typedef float Vec __attribute__((vector_size(64)));
typedef int32_t VecInt __attribute__((vector_size(64)));
typedef uint32_t VecBits __attribute__((vector_size(64)));
typedef uint16_t VecHalf __attribute__((vector_size(32)));

struct Bf16 {
  uint16_t bits;
};

inline Vec load(const float* p) {
  Vec v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

inline Vec load(const Bf16* p) {
  VecHalf h;
  std::memcpy(&h, p, sizeof h);
  return (Vec)(__builtin_convertvector(h, VecBits) << 16);
}

inline void store(float* p, Vec v) { std::memcpy(p, &v, sizeof v); }

inline void store(Bf16* p, Vec v) {
  const VecBits bits = (VecBits)v;
  const VecBits rounded = bits + 0x7fffu + ((bits >> 16) & 1u);  // to nearest, ties to even
  const VecHalf h = __builtin_convertvector(rounded >> 16, VecHalf);
  std::memcpy(p, &h, sizeof h);
}

inline float to_float(float x) { return x; }

inline float to_float(Bf16 x) {
  const uint32_t bits = uint32_t(x.bits) << 16;
  float f;
  std::memcpy(&f, &bits, sizeof f);
  return f;
}

inline void put(float* p, float x) { *p = x; }

inline void put(Bf16* p, float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  p->bits = uint16_t((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

inline float sum(Vec v) {
  float s = 0;
  for (int i = 0; i < LANES; ++i) s += v[i];
  return s;
}

// The Taylor series of 2^r for |r| <= 1/2.
inline Vec exp2_series(Vec r) {
  Vec p = Vec{} + 1.5403530e-4f;
  p = p * r + 1.3333558e-3f;
  p = p * r + 9.6181291e-3f;
  p = p * r + 5.5504109e-2f;
  p = p * r + 2.4022651e-1f;
  p = p * r + 6.9314718e-1f;
  return p * r + 1.0f;
}

// 2^x: the nearest integer goes to the exponent, the rest through the series.
inline Vec exp2_of(Vec x) {
#ifdef __AVX512F__
  const __m512 n = _mm512_roundscale_ps((__m512)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  return (Vec)_mm512_scalef_ps((__m512)exp2_series(x - (Vec)n), n);
#else
  x = x < -126.0f ? Vec{} - 126.0f : x;
  x = x > 126.0f ? Vec{} + 126.0f : x;
  const VecInt n = __builtin_convertvector(x + 127.5f, VecInt);  // positive: truncation is floor
  return exp2_series(x - __builtin_convertvector(n - 127, Vec)) * (Vec)(n << 23);
#endif
}

inline Vec sigmoid(Vec x) { return 1.0f / (1.0f + exp2_of(-LOG2_E * x)); }

inline Vec softplus(Vec x) {
  const Vec e = exp2_of(LOG2_E * x);
  Vec y;
  for (int i = 0; i < LANES; ++i) y[i] = log1pf(e[i]);
  return x > 20.0f ? x : y;
}

// Calls work(i) for i in [0, n) on so many threads; whoever is free takes the next i.
template <class Work>
void parallel(int n, int threads, const Work& work) {
  std::atomic<int> next{0};
  auto run = [&] {
    for (int i = next++; i < n; i = next++) work(i);
  };
  std::vector<std::thread> others;
  for (int t = 1; t < threads && t < n; ++t) others.emplace_back(run);
  run();
  for (auto& other : others) other.join();
}

}  // namespace
