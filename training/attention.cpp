// What a matrix library does not do for causal attention: the softmax of a block of rows, and
// taking heads out of a joint projection with rotary positions. Forward and backward, for training
// on a CPU; built and called as kernels.cpp is.

#include "vec.h"

namespace {

// The first `count` values from p, zeros after them.
template <class S>
Vec load_some(const S* p, int count) {
  if (count >= LANES) return load(p);
  Vec v{};
  for (int i = 0; i < count; ++i) v[i] = to_float(p[i]);
  return v;
}

template <class S>
void store_some(S* p, Vec v, int count) {
  if (count >= LANES) return store(p, v);
  for (int i = 0; i < count; ++i) put(p + i, v[i]);
}

// scores [n,rows,cols] become probabilities: row i, at position first + i, is the softmax of
// scale * score over the columns up to its position, zero after it.
template <class S>
void causal_softmax(int n, int rows, int cols, int first, float scale, S* scores, int threads) {
  parallel(n, threads, [&](int item) {
    std::vector<float> exps(cols + LANES);
    for (int i = 0; i < rows; ++i) {
      S* row = scores + (size_t(item) * rows + i) * cols;
      const int seen = std::min(first + i + 1, cols);
      Vec top = Vec{} + to_float(row[0]);
      for (int j = 0; j + LANES <= seen; j += LANES) {
        const Vec v = load(row + j);
        top = v > top ? v : top;
      }
      float maximum = top[0];
      for (int k = 1; k < LANES; ++k) maximum = std::max(maximum, top[k]);
      for (int j = seen / LANES * LANES; j < seen; ++j) {
        maximum = std::max(maximum, to_float(row[j]));
      }
      const float factor = scale * LOG2_E;
      Vec sums{};
      for (int j = 0; j < seen; j += LANES) {
        Vec e = exp2_of((load_some(row + j, seen - j) - maximum) * factor);
        for (int k = seen - j; k < LANES; ++k) e[k] = 0.0f;
        store(&exps[j], e);
        sums += e;
      }
      const float inverse = 1.0f / sum(sums);
      for (int j = 0; j < seen; j += LANES) {
        store_some(row + j, load(&exps[j]) * inverse, seen - j);
      }
      std::memset(static_cast<void*>(row + seen), 0, sizeof(S) * (cols - seen));
    }
  });
}

// p the probabilities, dp [n,rows,cols] their gradient, which becomes the scores' gradient.
template <class S>
void causal_softmax_backward(int n, int rows, int cols, int first, float scale, const S* p, S* dp,
                             int threads) {
  parallel(n, threads, [&](int item) {
    for (int i = 0; i < rows; ++i) {
      const size_t at = (size_t(item) * rows + i) * cols;
      const int seen = std::min(first + i + 1, cols);
      Vec dots{};
      for (int j = 0; j < seen; j += LANES) {
        dots += load_some(p + at + j, seen - j) * load_some(dp + at + j, seen - j);
      }
      const float dot = sum(dots);
      for (int j = 0; j < seen; j += LANES) {
        const Vec d = load_some(dp + at + j, seen - j) - dot;
        store_some(dp + at + j, load_some(p + at + j, seen - j) * d * scale, seen - j);
      }
      std::memset(static_cast<void*>(dp + at + seen), 0, sizeof(S) * (cols - seen));
    }
  });
}

// Rotates the first `turned` channels of each head in pairs (i, i + turned / 2) by the angles
// whose cosines and sines are turn [2,T,turned / 2]; `sign` -1 turns back.
template <class S>
void copy_turned(const S* from, S* to, int size, int turned, const float* cos, const float* sin,
                 float sign) {
  const int half = turned / 2;
  std::memcpy(static_cast<void*>(to + turned), from + turned, sizeof(S) * (size - turned));
  for (int i = 0; i < half; ++i) {
    const float low = to_float(from[i]), high = to_float(from[i + half]);
    put(to + i, low * cos[i] - sign * high * sin[i]);
    put(to + i + half, high * cos[i] + sign * low * sin[i]);
  }
}

// qkv [B,T,H,3,size] <-> q, k, v [B,H,T,size], q and k rotated on the way out and back on the way
// in (the gradients' way).
template <class S, bool OUT>
void heads(int B, int T, int H, int size, int turned, const float* turn, S* qkv, S* q, S* k, S* v,
           int threads) {
  const size_t half = turned / 2;
  parallel(B * H, threads, [&](int item) {
    const int b = item / H, h = item % H;
    for (int t = 0; t < T; ++t) {
      S* joint = qkv + ((size_t(b) * T + t) * H + h) * 3 * size;
      const size_t at = (size_t(item) * T + t) * size;
      const float *cos = turn + t * half, *sin = turn + (T + t) * half;
      S* parts[3] = {q + at, k + at, v + at};
      for (int i = 0; i < 3; ++i) {
        S* from = OUT ? joint + i * size : parts[i];
        S* to = OUT ? parts[i] : joint + i * size;
        copy_turned(from, to, size, i < 2 ? turned : 0, cos, sin, OUT ? 1.0f : -1.0f);
      }
    }
  });
}

}  // namespace

#define EXPORT(S, SUFFIX)                                                                          \
  extern "C" void causal_softmax_##SUFFIX(int n, int rows, int cols, int first, float scale,       \
                                          S* scores, int threads) {                                \
    causal_softmax<S>(n, rows, cols, first, scale, scores, threads);                               \
  }                                                                                                \
  extern "C" void causal_softmax_backward_##SUFFIX(int n, int rows, int cols, int first,           \
                                                   float scale, const S* p, S* dp, int threads) {  \
    causal_softmax_backward<S>(n, rows, cols, first, scale, p, dp, threads);                       \
  }                                                                                                \
  extern "C" void split_heads_##SUFFIX(int B, int T, int H, int size, int turned,                  \
                                       const float* turn, S* qkv, S* q, S* k, S* v, int threads) { \
    heads<S, true>(B, T, H, size, turned, turn, qkv, q, k, v, threads);                            \
  }                                                                                                \
  extern "C" void join_heads_##SUFFIX(int B, int T, int H, int size, int turned,                   \
                                      const float* turn, S* qkv, S* q, S* k, S* v, int threads) {  \
    heads<S, false>(B, T, H, size, turned, turn, qkv, q, k, v, threads);                           \
  }

EXPORT(float, f32)
EXPORT(Bf16, bf16)
