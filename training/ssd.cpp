// The scan of Mamba-2, whose heads decay as a whole, and the gated RMSNorm after it. Forward and
// backward, for training on a CPU; built and called as kernels.cpp is.
//
// Vectors run over 16 of a head's channels. A part of 16 states at a time stays in registers while
// a chunk of time passes, so that a wider state only means more parts.

#include "vec.h"

namespace {

constexpr int PART = 16;

// x [B,T,stride] holds x in columns 0..H P, B in the next N and C in the N after them; dt
// [B,T,dt_stride] before bias and softplus; a2 [H] = A * log2(e).
struct Shape {
  int B, T, H, P, N, stride, dt_stride, threads;
  int channels() const { return H * P; }
  int chunks() const { return (T + CHUNK - 1) / CHUNK; }
};

// What a chunk of one sequence needs more than once, in float.
struct Inputs {
  explicit Inputs(const Shape& s)
      : lanes((s.H + LANES - 1) / LANES * LANES),
        delta(size_t(CHUNK) * lanes),
        decay(size_t(CHUNK) * lanes),
        dx(size_t(CHUNK) * s.channels()),
        b(size_t(CHUNK) * s.N),
        c(size_t(CHUNK) * s.N) {}

  template <class S>
  void read(const Shape& s, int steps, const S* x, const S* dt, const float* dt_bias,
            const float* a2) {
    const int E = s.channels();
    for (int t = 0; t < steps; ++t) {
      const S* row = x + size_t(t) * s.stride;
      for (int h0 = 0; h0 < s.H; h0 += LANES) {
        Vec raw{}, a{};
        for (int i = 0; i < std::min(LANES, s.H - h0); ++i) {
          raw[i] = to_float(dt[size_t(t) * s.dt_stride + h0 + i]) + dt_bias[h0 + i];
          a[i] = a2[h0 + i];
        }
        const Vec d = softplus(raw);
        store(&delta[size_t(t) * lanes + h0], d);
        store(&decay[size_t(t) * lanes + h0], exp2_of(d * a));
      }
      for (int e = 0; e < E; e += LANES) {
        const float d = delta[size_t(t) * lanes + e / s.P];
        store(&dx[size_t(t) * E + e], load(row + e) * d);
      }
      for (int n = 0; n < s.N; n += LANES) {
        store(&b[size_t(t) * s.N + n], load(row + E + n));
        store(&c[size_t(t) * s.N + n], load(row + E + s.N + n));
      }
    }
  }

  int lanes;                        // H rounded up to whole vectors
  std::vector<float> delta, decay;  // [CHUNK, lanes]
  std::vector<float> dx;            // [CHUNK, H P]: delta * x
  std::vector<float> b, c;          // [CHUNK, N]
};

// y_p = sum_n C_n h_pn + skip x_p, h_pn = exp(delta A) h_pn + delta x_p B_n (Dao and Gu 2024,
// Transformers are SSMs, section 3) -> y [B,T,H P]; states [B, chunks, N/PART, H P/LANES, PART,
// LANES]: the state at the start of every chunk.
template <class S>
void ssd_forward(const Shape& s, const S* x, const S* dt, const float* dt_bias, const float* a2,
                 const float* skip, S* y, float* states) {
  const int E = s.channels();
  const size_t size = size_t(E) * s.N;
  parallel(s.B, s.threads, [&](int seq) {
    Inputs in(s);
    std::vector<float> carry(size, 0.0f), sums(size_t(CHUNK) * E);
    for (int chunk = 0; chunk < s.chunks(); ++chunk) {
      const size_t t0 = size_t(seq) * s.T + size_t(chunk) * CHUNK;
      const int steps = std::min(CHUNK, s.T - chunk * CHUNK);
      in.read(s, steps, x + t0 * s.stride, dt + t0 * s.dt_stride, dt_bias, a2);
      std::memcpy(states + (size_t(seq) * s.chunks() + chunk) * size, carry.data(),
                  sizeof(float) * size);
      for (int t = 0; t < steps; ++t) {
        for (int e = 0; e < E; e += LANES) {
          store(&sums[size_t(t) * E + e], load(x + (t0 + t) * s.stride + e) * skip[e / s.P]);
        }
      }
      float* carried = carry.data();
      for (int n0 = 0; n0 < s.N; n0 += PART) {
        for (int e = 0; e < E; e += LANES, carried += PART * LANES) {
          Vec h[PART];
          for (int n = 0; n < PART; ++n) h[n] = load(carried + n * LANES);
          for (int t = 0; t < steps; ++t) {
            const float* b = &in.b[size_t(t) * s.N + n0];
            const float* c = &in.c[size_t(t) * s.N + n0];
            const Vec decay = Vec{} + in.decay[size_t(t) * in.lanes + e / s.P];
            const Vec dx = load(&in.dx[size_t(t) * E + e]);
            Vec even = load(&sums[size_t(t) * E + e]), odd{};
#pragma GCC unroll 16
            for (int n = 0; n < PART; n += 2) {
              h[n] = decay * h[n] + dx * b[n];
              h[n + 1] = decay * h[n + 1] + dx * b[n + 1];
              even += h[n] * c[n];
              odd += h[n + 1] * c[n + 1];
            }
            store(&sums[size_t(t) * E + e], even + odd);
          }
          for (int n = 0; n < PART; ++n) store(carried + n * LANES, h[n]);
        }
      }
      for (int t = 0; t < steps; ++t) {
        for (int e = 0; e < E; e += LANES) {
          store(y + (t0 + t) * E + e, load(&sums[size_t(t) * E + e]));
        }
      }
    }
  });
}

// dy [B,T,H P] -> dxbc [B,T,stride] (the three parts of x), ddt [B,T,dt_stride] (its first H
// columns), and per sequence the gradients of dt_bias, A_log and skip [B,H].
template <class S>
void ssd_backward(const Shape& s, const S* x, const S* dt, const float* dt_bias, const float* a2,
                  const float* skip, const float* states, const S* dy, S* dxbc, S* ddt,
                  float* ddt_bias, float* dA_log, float* dskip) {
  const int E = s.channels();
  const size_t size = size_t(E) * s.N;
  parallel(s.B, s.threads, [&](int seq) {
    struct Scratch {
      Vec h[CHUNK + 1][PART];                // states before and after each step
      Vec db[CHUNK][PART], dc[CHUNK][PART];  // not yet summed over the lanes
    };
    std::vector<Scratch> memory(1);
    Scratch& m = memory[0];
    Inputs in(s);
    std::vector<float> carry(size, 0.0f);  // gradient of the state, from the right
    std::vector<float> ddx(size_t(CHUNK) * E), g(size_t(CHUNK) * E);
    std::vector<Vec> ddecay(size_t(CHUNK) * s.H);
    float* dbias_b = ddt_bias + size_t(seq) * s.H;
    float* da_b = dA_log + size_t(seq) * s.H;
    float* dskip_b = dskip + size_t(seq) * s.H;
    std::fill_n(dbias_b, s.H, 0.0f);
    std::fill_n(da_b, s.H, 0.0f);
    std::fill_n(dskip_b, s.H, 0.0f);
    for (int chunk = s.chunks() - 1; chunk >= 0; --chunk) {
      const size_t t0 = size_t(seq) * s.T + size_t(chunk) * CHUNK;
      const int steps = std::min(CHUNK, s.T - chunk * CHUNK);
      in.read(s, steps, x + t0 * s.stride, dt + t0 * s.dt_stride, dt_bias, a2);
      for (int i = 0; i < steps * E; i += LANES) store(&g[i], load(dy + t0 * E + i));
      std::fill(ddx.begin(), ddx.end(), 0.0f);
      std::fill(ddecay.begin(), ddecay.end(), Vec{});
      const float* start = states + (size_t(seq) * s.chunks() + chunk) * size;
      float* carried = carry.data();
      for (int n0 = 0; n0 < s.N; n0 += PART) {
        std::memset(m.db, 0, sizeof m.db);
        std::memset(m.dc, 0, sizeof m.dc);
        for (int e = 0; e < E; e += LANES, start += PART * LANES, carried += PART * LANES) {
          const int head = e / s.P;
          for (int n = 0; n < PART; ++n) m.h[0][n] = load(start + n * LANES);
          for (int t = 0; t < steps; ++t) {
            const float* b = &in.b[size_t(t) * s.N + n0];
            const Vec decay = Vec{} + in.decay[size_t(t) * in.lanes + head];
            const Vec dx = load(&in.dx[size_t(t) * E + e]);
#pragma GCC unroll 16
            for (int n = 0; n < PART; ++n) m.h[t + 1][n] = decay * m.h[t][n] + dx * b[n];
          }
          Vec dh[PART];
          for (int n = 0; n < PART; ++n) dh[n] = load(carried + n * LANES);
          for (int t = steps - 1; t >= 0; --t) {
            const float* b = &in.b[size_t(t) * s.N + n0];
            const float* c = &in.c[size_t(t) * s.N + n0];
            const Vec decay = Vec{} + in.decay[size_t(t) * in.lanes + head];
            const Vec dx = load(&in.dx[size_t(t) * E + e]), out = load(&g[size_t(t) * E + e]);
            Vec to_dx{}, to_decay{};
#pragma GCC unroll 16
            for (int n = 0; n < PART; ++n) {
              dh[n] += out * c[n];
              m.dc[t][n] += out * m.h[t + 1][n];
              m.db[t][n] += dh[n] * dx;
              to_dx += dh[n] * b[n];
              to_decay += dh[n] * m.h[t][n];
              dh[n] = dh[n] * decay;
            }
            float* sum = &ddx[size_t(t) * E + e];
            store(sum, load(sum) + to_dx);
            ddecay[size_t(t) * s.H + head] += to_decay;
          }
          for (int n = 0; n < PART; ++n) store(carried + n * LANES, dh[n]);
        }
        for (int t = 0; t < steps; ++t) {
          S* row = dxbc + (t0 + t) * s.stride + E + n0;
          for (int n = 0; n < PART; ++n) {
            put(row + n, sum(m.db[t][n]));
            put(row + s.N + n, sum(m.dc[t][n]));
          }
        }
      }
      for (int t = 0; t < steps; ++t) {
        const S* row = x + (t0 + t) * s.stride;
        for (int head = 0; head < s.H; ++head) {
          const float delta = in.delta[size_t(t) * in.lanes + head];
          const float decay = in.decay[size_t(t) * in.lanes + head];
          Vec to_delta{}, to_skip{};
          for (int e = head * s.P; e < (head + 1) * s.P; e += LANES) {
            const Vec v = load(row + e), d = load(&ddx[size_t(t) * E + e]);
            const Vec out = load(&g[size_t(t) * E + e]);
            to_delta += d * v;
            to_skip += out * v;
            store(dxbc + (t0 + t) * s.stride + e, d * delta + out * skip[head]);
          }
          const float A = a2[head] / LOG2_E;
          const float exponent = sum(ddecay[size_t(t) * s.H + head]) * decay * A;
          // d decay / d delta = A decay, and d decay / d A_log = A delta decay.
          const float ddelta = exponent + sum(to_delta);
          const float raw = ddelta * -std::expm1(-delta);  // softplus' = 1 - e^-delta
          put(ddt + (t0 + t) * s.dt_stride + head, raw);
          dbias_b[head] += raw;
          da_b[head] += exponent * delta;
          dskip_b[head] += sum(to_skip);
        }
      }
    }
  });
}

// ---- gated RMSNorm: norm(y * silu(z)) * w ----

constexpr int ROWS = 128;  // rows of one work item, and of one partial sum of the weight's gradient

// y [rows,E], z [rows,stride], w [E] -> out [rows,E]
template <class S>
void gated_norm_forward(int rows, int E, int stride, float eps, const S* y, const S* z,
                        const float* w, S* out, int threads) {
  parallel((rows + ROWS - 1) / ROWS, threads, [&](int item) {
    std::vector<float> gated(E);
    for (int r = item * ROWS; r < std::min(rows, (item + 1) * ROWS); ++r) {
      Vec squares{};
      for (int i = 0; i < E; i += LANES) {
        const Vec gate = load(z + size_t(r) * stride + i);
        const Vec v = load(y + size_t(r) * E + i) * gate * sigmoid(gate);
        store(&gated[i], v);
        squares += v * v;
      }
      const float scale = 1.0f / std::sqrt(sum(squares) / E + eps);
      for (int i = 0; i < E; i += LANES) {
        store(out + size_t(r) * E + i, load(&gated[i]) * scale * load(w + i));
      }
    }
  });
}

// dout [rows,E] -> dy [rows,E], dz [rows,stride], dw [items,E] partial sums
template <class S>
void gated_norm_backward(int rows, int E, int stride, float eps, const S* y, const S* z,
                         const float* w, const S* dout, S* dy, S* dz, float* dw, int threads) {
  parallel((rows + ROWS - 1) / ROWS, threads, [&](int item) {
    std::vector<float> gated(E), sigmoids(E);
    float* dw_item = dw + size_t(item) * E;
    std::memset(dw_item, 0, sizeof(float) * E);
    for (int r = item * ROWS; r < std::min(rows, (item + 1) * ROWS); ++r) {
      Vec squares{}, dots{};
      for (int i = 0; i < E; i += LANES) {
        const Vec gate = load(z + size_t(r) * stride + i), sig = sigmoid(gate);
        const Vec v = load(y + size_t(r) * E + i) * gate * sig;
        store(&gated[i], v);
        store(&sigmoids[i], sig);
        squares += v * v;
        dots += v * load(dout + size_t(r) * E + i) * load(w + i);
      }
      const float scale = 1.0f / std::sqrt(sum(squares) / E + eps);
      const float along = sum(dots) * scale * scale * scale / E;
      for (int i = 0; i < E; i += LANES) {
        const Vec v = load(&gated[i]), g = load(dout + size_t(r) * E + i);
        store(dw_item + i, load(dw_item + i) + g * v * scale);
        const Vec d = g * load(w + i) * scale - v * along;  // gradient of y * silu(z)
        const Vec gate = load(z + size_t(r) * stride + i), sig = load(&sigmoids[i]);
        store(dy + size_t(r) * E + i, d * gate * sig);
        store(dz + size_t(r) * stride + i,
              d * load(y + size_t(r) * E + i) * sig * (1.0f + gate * (1.0f - sig)));
      }
    }
  });
}

}  // namespace

#define EXPORT(S, SUFFIX)                                                                          \
  extern "C" void ssd_forward_##SUFFIX(int B, int T, int H, int P, int N, int stride,              \
                                       int dt_stride, int threads, const S* x, const S* dt,        \
                                       const float* dt_bias, const float* a2, const float* skip,   \
                                       S* y, float* states) {                                      \
    ssd_forward<S>({B, T, H, P, N, stride, dt_stride, threads}, x, dt, dt_bias, a2, skip, y,       \
                   states);                                                                        \
  }                                                                                                \
  extern "C" void ssd_backward_##SUFFIX(                                                           \
      int B, int T, int H, int P, int N, int stride, int dt_stride, int threads, const S* x,       \
      const S* dt, const float* dt_bias, const float* a2, const float* skip, const float* states,  \
      const S* dy, S* dxbc, S* ddt, float* ddt_bias, float* dA_log, float* dskip) {                \
    ssd_backward<S>({B, T, H, P, N, stride, dt_stride, threads}, x, dt, dt_bias, a2, skip, states, \
                    dy, dxbc, ddt, ddt_bias, dA_log, dskip);                                       \
  }                                                                                                \
  extern "C" void gated_norm_forward_##SUFFIX(int rows, int E, int stride, float eps, const S* y,  \
                                              const S* z, const float* w, S* out, int threads) {   \
    gated_norm_forward<S>(rows, E, stride, eps, y, z, w, out, threads);                            \
  }                                                                                                \
  extern "C" void gated_norm_backward_##SUFFIX(int rows, int E, int stride, float eps, const S* y, \
                                               const S* z, const float* w, const S* dout, S* dy,   \
                                               S* dz, float* dw, int threads) {                    \
    gated_norm_backward<S>(rows, E, stride, eps, y, z, w, dout, dy, dz, dw, threads);              \
  }

EXPORT(float, f32)
EXPORT(Bf16, bf16)
