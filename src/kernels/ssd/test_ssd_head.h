// One head of one group in plain loops: the contract of ssd.h literally.
#pragma once

#include <cmath>

#include "kernels/ssd/test_ssd.h"
#include "kernels/vec_reference.h"

#include "kernels/vec_math.h"

namespace krait {
namespace {

inline std::size_t size(std::int64_t i) { return static_cast<std::size_t>(i); }

/// Its inputs, and delta and a. At the start of a chunk.
struct Head {
  Head(const SsdCase& c, std::int64_t head) : P(c.options.head_dim), N(c.options.states) {
    const SsdOptions& o = c.options;
    const std::int64_t group = head / (o.heads / o.groups);
    D.assign(c.D.begin() + head * P, c.D.begin() + (head + 1) * P);
    for (std::int64_t i = head * N * P; i < (head + 1) * N * P; ++i) {
      const float steps = c.state_i8[size(i)];
      S.push_back(c.is_dynamic() ? steps * c.scale(size(i)) : c.state_f32[size(i)]);
    }
    for (std::int64_t t = 0; t < o.tokens; ++t) {
      const float raw = value(c.dt, t, head) + c.dt_bias[size(head)];
      const float step = softplus(broadcast(raw)).lane[0];
      delta.push_back(std::min(std::max(step, o.dt_min), o.dt_max));
      a.push_back(exp2(broadcast(delta.back() * c.a2[size(head)])).lane[0]);
      for (std::int64_t p = 0; p < P; ++p) x.push_back(value(c.x, t, head * P + p));
      for (std::int64_t n = 0; n < N; ++n) {
        B.push_back(value(c.B, t, group * N + n));
        C.push_back(value(c.C, t, group * N + n));
      }
    }
    y.resize(x.size());
  }
  static float value(const TestActivation& from, std::int64_t t, std::int64_t c) {
    return static_cast<float>(at(from, t, c));
  }
  float dx(std::int64_t t, std::int64_t p) const { return delta[size(t)] * x[size(t * P + p)]; }
  /// a[s + 1] ... a[t]
  float between(std::int64_t s, std::int64_t t) const {
    float product = 1;
    for (std::int64_t i = s + 1; i <= t; ++i) product *= a[size(i)];
    return product;
  }

  void take_token(std::int64_t t) {
    for (std::int64_t p = 0; p < P; ++p) {
      float& out = y[size(t * P + p)];
      out = D[size(p)] * x[size(t * P + p)];
      for (std::int64_t n = 0; n < N; ++n) {
        float& s = S[size(n * P + p)];
        s = std::fma(a[size(t)], s, dx(t, p) * B[size(t * N + n)]);
        out = std::fma(C[size(t * N + n)], s, out);
      }
    }
  }
  /// The first `count` tokens of a chunk; the state moves on when it has all of them.
  void take_chunk(std::int64_t first, std::int64_t count) {
    const std::int64_t last = first + count - 1;
    for (std::int64_t t = first; t <= last; ++t) {
      std::vector<float> weight;
      for (std::int64_t s = first; s <= t; ++s) {
        float score = 0;
        for (std::int64_t n = 0; n < N; ++n) {
          score = std::fma(C[size(t * N + n)], B[size(s * N + n)], score);
        }
        weight.push_back(between(s, t) * score);
      }
      for (std::int64_t p = 0; p < P; ++p) {
        float sum = 0;
        for (std::int64_t n = 0; n < N; ++n) {
          sum = std::fma(C[size(t * N + n)], S[size(n * P + p)], sum);
        }
        sum = std::fma(between(first - 1, t), sum, D[size(p)] * x[size(t * P + p)]);
        for (std::int64_t s = first; s <= t; ++s) {
          sum = std::fma(weight[size(s - first)], dx(s, p), sum);
        }
        y[size(t * P + p)] = sum;
      }
    }
    if (count < kSsdChunk) return;
    for (std::int64_t n = 0; n < N; ++n) {
      for (std::int64_t p = 0; p < P; ++p) {
        float s = between(first - 1, last) * S[size(n * P + p)];
        for (std::int64_t t = first; t <= last; ++t) {
          s = std::fma(B[size(t * N + n)], between(t, last) * dx(t, p), s);
        }
        S[size(n * P + p)] = s;
      }
    }
  }

  /// What the end of a chunk makes of a dynamic int8 state.
  void round_rows() {
    q.assign(S.size(), 0);
    scale.assign(size(P), 0);
    for (std::int64_t p = 0; p < P; ++p) {
      float largest = 1e-30f;
      for (std::int64_t n = 0; n < N; ++n)
        largest = std::max(largest, std::abs(S[size(n * P + p)]));
      scale[size(p)] = largest / 127;
      const float inverse = 1 / scale[size(p)];
      for (std::int64_t n = 0; n < N; ++n) {
        float& s = S[size(n * P + p)];
        const float rounded = std::clamp(std::nearbyint(s * inverse), -127.0f, 127.0f);
        q[size(n * P + p)] = static_cast<std::int8_t>(rounded);
        s = rounded * scale[size(p)];
      }
    }
  }

  std::int64_t P, N;
  std::vector<float> D, S, delta, a, x, B, C, y, scale;
  std::vector<std::int8_t> q;
};

}  // namespace
/// compare() of shapes that have whole chunks and rests of them, and of all numerics of inputs from
/// `position` on.
template <typename Compare>
void for_chunk_shapes(std::int64_t position, Compare compare) {
  constexpr std::int64_t Q = kSsdChunk;
  for (const std::int64_t head_dim : {1, 3, 8, 15, 16, 17, 40, 64, 100}) {
    compare({.tokens = 2 * Q + 3, .heads = 3, .head_dim = head_dim, .states = 6});
  }
  for (const std::int64_t states : {1, 4, 7, 16, 128}) {
    compare({.tokens = 2 * Q, .heads = 2, .head_dim = 20, .states = states});
  }
  for (const Numerics& inputs : kAllNumerics) {
    compare({.tokens = 2 * Q + 5,
             .heads = 8,
             .head_dim = 24,
             .groups = 4,
             .states = 33,
             .inputs = inputs,
             .position = position,
             .dt_min = 0.01f,
             .dt_max = 0.3f});
  }
}

}  // namespace krait
