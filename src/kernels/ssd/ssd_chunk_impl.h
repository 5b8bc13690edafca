// The chunked form of ssd.h over Vec: part of ssd_impl.h. All of its sums are products of matrices
// of which a tile stays in registers while the sum runs.
#pragma once

#include "kernels/ssd/ssd_kernels.h"
#include "kernels/vec_math.h"

namespace krait {
namespace {

// A tile of the products is some rows by some vectors of columns. Its sums, a row of the right
// factor and a value of the left one fit into the registers: 32, or 16 where vectors have 8 lanes.
constexpr int kTileSums = !kInRegisters ? 1 : kLanes == 8 ? 8 : 16;
constexpr int kTileVecs = !kInRegisters ? 1 : kLanes == 8 ? 2 : 4;

/// Rows of a tile that is `vecs` vectors wide.
constexpr int tile_rows(int vecs) { return kTileSums / vecs < 8 ? kTileSums / vecs : 8; }

/// sum[r][v] = fma(a[r, k], b[k, v], sum[r][v]) for k = 0, 1, ..., count - 1.
template <int rows, int vecs, typename P>
[[gnu::always_inline]] inline void add_product(const float* a, std::int64_t a_stride,
                                               const float* b, std::int64_t b_stride,
                                               std::int64_t count, Vec (&sum)[rows][vecs], P part) {
  for (std::int64_t k = 0; k < count; ++k) {
    Vec right[vecs];
#pragma GCC unroll 4
    for (int v = 0; v < vecs; ++v) right[v] = load(b + k * b_stride + v * kLanes, part);
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
      const Vec left = broadcast(a[r * a_stride + k]);
#pragma GCC unroll 4
      for (int v = 0; v < vecs; ++v) sum[r][v] = fma(left, right[v], sum[r][v]);
    }
  }
}

template <int n>
struct Vecs {};

/// body(c, Vecs<n>{}, part) for n vectors of columns from c on: as many as a tile can have while
/// there are, then half of that, then one by one.
template <typename Body>
inline void for_tiles(std::int64_t columns, Body body) {
  constexpr int half = kTileVecs > 2 ? kTileVecs / 2 : 1;
  std::int64_t c = 0;
  for (; c + kTileVecs * kLanes <= columns; c += kTileVecs * kLanes) {
    body(c, Vecs<kTileVecs>{}, Whole{});
  }
  for (; half > 1 && c + half * kLanes <= columns; c += half * kLanes) {
    body(c, Vecs<half>{}, Whole{});
  }
  for_blocks<kLanes>(columns - c, [&](std::int64_t i, auto part) { body(c + i, Vecs<1>{}, part); });
}

/// `rows` rows of C B^T from t on.
template <int rows>
void score_rows(const SsdScores& s, std::int64_t t) {
  for (std::int64_t c = 0; c < kSsdQ; c += kLanes) {
    Vec sum[rows][1];
    for (int r = 0; r < rows; ++r) sum[r][0] = broadcast(0.0f);
    add_product(s.C + t * s.states, s.states, s.B + c, kSsdQ, s.states, sum, Whole{});
    for (int r = 0; r < rows; ++r) store(s.scores + (t + r) * kSsdQ + c, sum[r][0], Whole{});
  }
}

void ssd_scores(const SsdScores& s) {
  constexpr int rows = tile_rows(1);
  if (s.tokens == 1) return score_rows<1>(s, 0);
  for (std::int64_t t = 0; t < kSsdQ; t += rows) score_rows<rows>(s, t);
}

/// What the products of one head and chunk start from.
struct ChunkFactors {
  float* mixing;        // [Q, Q]: A[t, s] G[t, s] for s <= t
  float* dx;            // [Q, channels]
  float* left;          // [Q, channels]: A[Q - 1, s] dx[s]
  float before[kSsdQ];  // e[t]
};

/// A row of A stands in vectors. As a decay is at most 1, the maximum with 1 keeps what has not
/// begun at 1.
void chunk_factors(const SsdChunk& c, ChunkFactors& f) {
  constexpr int vecs = kSsdQ / kLanes;
  static_assert(kSsdQ % kLanes == 0);
  float begun[2 * kSsdQ];  // from Q - t on: 0 for s < t, 1 for the others
  for (int s = 0; s < kSsdQ; ++s) {
    begun[s] = 0;
    begun[kSsdQ + s] = 1;
  }
  Vec product[vecs];
  for (int v = 0; v < vecs; ++v) product[v] = broadcast(1.0f);
  float before = 1;
  for (int t = 0; t < kSsdQ; ++t) {
    const float decay = c.decay[t * c.step_stride];
    before *= decay;
    f.before[t] = before;
    for (int v = 0; v < vecs; ++v) {
      const std::int64_t i = v * kLanes;
      product[v] = product[v] * max(broadcast(decay), load(begun + kSsdQ - t + i, Whole{}));
      const Vec score = load(c.scores + t * kSsdQ + i, Whole{});
      store(f.mixing + t * kSsdQ + i, product[v] * score, Whole{});
    }
  }
  float last[kSsdQ];
  for (int v = 0; v < vecs; ++v) store(last + v * kLanes, product[v], Whole{});
  const std::int64_t channels = c.channels, x_stride = c.x_stride;
  float *to_dx = f.dx, *to_left = f.left;
  const float* from = c.x;
  for (int s = 0; s < kSsdQ; ++s) {
    const Vec delta = broadcast(c.delta[s * c.step_stride]), rest = broadcast(last[s]);
    for_blocks<kLanes>(channels, [&](std::int64_t p, auto part) {
      const Vec dx = delta * load(from + p, part);
      store(to_dx + p, dx, part);
      store(to_left + p, rest * dx, part);
    });
    from += x_stride;
    to_dx += channels;
    to_left += channels;
  }
}

/// Asks for a tile of the next chunk's x and y, whose rows lie too far apart to be foreseen.
template <int rows, int vecs>
[[gnu::always_inline]] inline void prefetch_next(const SsdChunk& c, std::int64_t t,
                                                 std::int64_t p) {
  const std::int64_t x_stride = c.x_stride, y_stride = c.y_stride;
  const float* x = c.x + (t + kSsdQ) * x_stride + p;
  const float* y = c.y + (t + kSsdQ) * y_stride + p;
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < vecs; ++v) {
      __builtin_prefetch(x + r * x_stride + v * kLanes);
      __builtin_prefetch(y + r * y_stride + v * kLanes, 1);
    }
  }
}

/// y of a tile of tokens from t on and of `vecs` vectors of channels from p on.
template <int vecs, typename P>
void chunk_outputs(const SsdChunk& c, const ChunkFactors& f, std::int64_t t, std::int64_t p,
                   P part) {
  constexpr int rows = tile_rows(vecs);
  static_assert(kSsdQ % rows == 0);
  Vec y[rows][vecs];
#pragma GCC unroll 8
  for (auto& row : y) {
#pragma GCC unroll 4
    for (Vec& v : row) v = broadcast(0.0f);
  }
  if (c.more) prefetch_next<rows, vecs>(c, t, p);
  const std::int64_t y_stride = c.y_stride;
  float* const out = c.y + t * y_stride + p;
  add_product(c.C + t * c.states, c.states, c.state + p, c.state_stride, c.states, y, part);
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r) {
    const Vec before = broadcast(f.before[t + r]);
#pragma GCC unroll 4
    for (int v = 0; v < vecs; ++v) {
      const std::int64_t i = p + v * kLanes;
      const Vec direct = load(c.D + i, part) * load(c.x + (t + r) * c.x_stride + i, part);
      y[r][v] = fma(before, y[r][v], direct);
    }
  }
  const float* mixing = f.mixing + t * kSsdQ;
  add_product(mixing, kSsdQ, f.dx + p, c.channels, t, y, part);
#pragma GCC unroll 8
  for (int s = 0; s < rows; ++s) {  // the triangle
    Vec dx[vecs];
#pragma GCC unroll 4
    for (int v = 0; v < vecs; ++v) {
      dx[v] = load(f.dx + (t + s) * c.channels + p + v * kLanes, part);
    }
#pragma GCC unroll 8
    for (int r = s; r < rows; ++r) {
      const Vec weight = broadcast(mixing[r * kSsdQ + t + s]);
#pragma GCC unroll 4
      for (int v = 0; v < vecs; ++v) y[r][v] = fma(weight, dx[v], y[r][v]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < vecs; ++v) {
      store(out + r * y_stride + v * kLanes, y[r][v], part);
    }
  }
}

/// `rows` states from n on, of `vecs` vectors of channels from p on.
template <int rows, int vecs, typename P>
void advance_tile(const SsdAdvance& a, std::int64_t n, std::int64_t p, P part) {
  const std::int64_t stride = a.state_stride;
  float* const state = a.state + n * stride + p;
  const Vec all = broadcast(a.decay);
  Vec s[rows][vecs];
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < vecs; ++v) {
      s[r][v] = all * load(state + r * stride + v * kLanes, part);
    }
  }
  add_product(a.B + n * kSsdQ, kSsdQ, a.left + p, a.channels, kSsdQ, s, part);
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < vecs; ++v) {
      store(state + r * stride + v * kLanes, s[r][v], part);
    }
  }
}

template <int vecs, typename P>
void advance_columns(const SsdAdvance& a, std::int64_t p, P part) {
  constexpr int rows = tile_rows(vecs);
  std::int64_t n = 0;
  for (; n + rows <= a.states; n += rows) advance_tile<rows, vecs>(a, n, p, part);
  for (; n < a.states; ++n) advance_tile<1, vecs>(a, n, p, part);
}

void ssd_advance(const SsdAdvance& a) {
  for_tiles(a.channels, [&]<int vecs>(std::int64_t p, Vecs<vecs>, auto part) {
    advance_columns<vecs>(a, p, part);
  });
}

void ssd_chunk(const SsdChunk& c) {
  ChunkFactors f;
  f.mixing = c.scratch;
  f.dx = f.mixing + kSsdQ * kSsdQ;
  f.left = f.dx + kSsdQ * c.channels;
  chunk_factors(c, f);
  const SsdAdvance advance{.channels = c.channels,
                           .states = c.states,
                           .decay = f.before[kSsdQ - 1],
                           .B = c.B,
                           .left = f.left,
                           .state = c.state,
                           .state_stride = c.state_stride};
  for_tiles(c.channels, [&]<int vecs>(std::int64_t p, Vecs<vecs>, auto part) {
    constexpr int rows = tile_rows(vecs);
    for (std::int64_t t = 0; t < kSsdQ; t += rows) {
      chunk_outputs<vecs>(c, f, t, p, part);
    }
    advance_columns<vecs>(advance, p, part);
  });
}

}  // namespace
}  // namespace krait
