// States that stay as they are within a chunk, over Vec: part of ssd_impl.h. Each row of an int8
// one, a channel of a head with its states, has a scale of its own.
#pragma once

#include "kernels/ssd/ssd_chunk_impl.h"
#include "kernels/ssd/ssd_kernels.h"
#include "kernels/vec_math.h"

namespace krait {
namespace {

template <typename P>
inline Vec load_state(const float* state, Vec, P part) {
  return load(state, part);
}
template <typename P>
inline Vec load_state(const std::int8_t* state, Vec scale, P part) {
  return to_float(load_i8(state, part)) * scale;
}

/// Channels from p on, `vecs` vectors of them. T is the state's type, which is read as it lies in
/// memory.
template <typename T, int vecs, typename P>
[[gnu::always_inline]] inline void token_block(const SsdToken& k, std::int64_t p, P part) {
  Vec scale[vecs], y[vecs];
#pragma GCC unroll 4
  for (int v = 0; v < vecs; ++v) {
    if constexpr (sizeof(T) == 1) scale[v] = load(k.row_scale + p + v * kLanes, part);
    y[v] = broadcast(0.0f);
  }
  const T* state = static_cast<const T*>(k.state) + p;
  for (std::int64_t n = 0; n < k.states; ++n) {
    const Vec C = broadcast(k.C[n]);
#pragma GCC unroll 4
    for (int v = 0; v < vecs; ++v) {
      y[v] = fma(C, load_state(state + v * kLanes, scale[v], part), y[v]);
    }
    state += k.head_dim;
  }
  Vec dx[vecs];
#pragma GCC unroll 4
  for (int v = 0; v < vecs; ++v) {
    const std::int64_t i = p + v * kLanes;
    const Vec x = load(k.x + i, part);
    y[v] = fma(broadcast(k.decay), y[v], load(k.D + i, part) * x);
    dx[v] = broadcast(k.delta) * x;
    store(k.dx + i, dx[v], part);
  }
  for (std::int64_t s = 0; s < k.before; ++s) {
    const Vec weight = broadcast(k.mixing[s]);
#pragma GCC unroll 4
    for (int v = 0; v < vecs; ++v) {
      y[v] = fma(weight, load(k.dx_before + s * k.head_dim + p + v * kLanes, part), y[v]);
    }
  }
  const Vec weight = broadcast(k.mixing[k.before]);
#pragma GCC unroll 4
  for (int v = 0; v < vecs; ++v) store(k.y + p + v * kLanes, fma(weight, dx[v], y[v]), part);
}

template <typename T>
void ssd_token(const SsdToken& k) {
  std::int64_t p = 0;
  for (; p + 4 * kLanes <= k.head_dim; p += 4 * kLanes) {  // several chains at a time
    token_block<T, 4>(k, p, Whole{});
  }
  for_blocks<kLanes>(k.head_dim - p,
                     [&](std::int64_t rest, auto part) { token_block<T, 1>(k, p + rest, part); });
}

void ssd_widen_rows(const SsdRows& r) {
  for_tiles(r.channels, [&]<int vecs>(std::int64_t p, Vecs<vecs>, auto part) {
    Vec scale[vecs];
    for (int v = 0; v < vecs; ++v) scale[v] = load(r.scale + p + v * kLanes, part);
    for (std::int64_t n = 0; n < r.states; ++n) {
#pragma GCC unroll 4
      for (int v = 0; v < vecs; ++v) {
        const Ints q = load_i8(r.state + n * r.state_stride + p + v * kLanes, part);
        store(r.wide + n * r.channels + p + v * kLanes, to_float(q) * scale[v], part);
      }
    }
  });
}

void ssd_round_rows(const SsdRows& r) {
  for_tiles(r.channels, [&]<int vecs>(std::int64_t p, Vecs<vecs>, auto part) {
    Vec largest[vecs], scale[vecs], inverse[vecs];
    for (int v = 0; v < vecs; ++v) largest[v] = broadcast(1e-30f);
    for (std::int64_t n = 0; n < r.states; ++n) {
#pragma GCC unroll 4
      for (int v = 0; v < vecs; ++v) {
        const Vec s = load(r.wide + n * r.channels + p + v * kLanes, part);
        largest[v] = max_magnitude(abs(s), largest[v]);  // NaN stays to be seen
      }
    }
    for (int v = 0; v < vecs; ++v) {
      scale[v] = largest[v] / broadcast(127.0f);
      inverse[v] = broadcast(1.0f) / scale[v];
      store(r.scale + p + v * kLanes, scale[v], part);
    }
    for (std::int64_t n = 0; n < r.states; ++n) {
#pragma GCC unroll 4
      for (int v = 0; v < vecs; ++v) {
        float* const wide = r.wide + n * r.channels + p + v * kLanes;
        const Vec s = load(wide, part) * inverse[v];
        const Ints q = round_to_int(min(max(s, broadcast(-127.0f)), broadcast(127.0f)));
        store_i8(r.state + n * r.state_stride + p + v * kLanes, q, part);
        store(wide, to_float(q) * scale[v], part);
      }
    }
  });
}

}  // namespace
}  // namespace krait
