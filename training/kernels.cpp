// The parts of a Mamba-1 block that PyTorch would do with a loop over time or with many passes over
// memory: causal convolution + SiLU, the selective scan with its gate, RMSNorm fused with the
// residual addition, and the cross-entropy. Forward and backward, for training on a CPU.
//
// Vectors run over 16 channels; the states of a channel stay in registers while time advances. The
// forward scan keeps the state at the start of every chunk of CHUNK steps and the backward scan
// computes the states within a chunk again (the recomputation of Mamba, section 3.3.2).
//
// Plain C interface, called through ctypes. Built by ops.py with -ffast-math: that is for training
// only, where the last bit does not matter. Sums over a batch go to one partial result per
// sequence, so results do not depend on the number of threads.

#include "vec.h"

namespace {

// ---- causal depthwise convolution + SiLU ----

// x [B,T,stride] (its first E columns), w [K,E], bias [E] -> u [B,T,E]
template <class S>
void conv_forward(int B, int T, int E, int stride, int K, const S* x, const float* w,
                  const float* bias, S* u, int threads) {
  parallel(B, threads, [&](int b) {
    for (int t = 0; t < T; ++t) {
      const S* row = x + (size_t(b) * T + t) * stride;
      for (int e = 0; e < E; e += LANES) {
        Vec a = load(bias + e);
        for (int k = 0; k < K; ++k) {
          const int back = K - 1 - k;
          if (t >= back) a += load(w + k * E + e) * load(row - size_t(back) * stride + e);
        }
        store(u + (size_t(b) * T + t) * E + e, a * sigmoid(a));
      }
    }
  });
}

// du [B,T,E] -> dx [B,T,stride], and per sequence dw [B,K,E], dbias [B,E]
template <class S>
void conv_backward(int B, int T, int E, int stride, int K, const S* x, const float* w,
                   const float* bias, const S* du, S* dx, float* dw, float* dbias, int threads) {
  parallel(B, threads, [&](int b) {
    std::vector<float> ring(size_t(K) * E);  // gradients before SiLU of steps t .. t+K-1
    std::vector<const float*> later(K);      // later[k]: those of step t+K-1-k
    float* dw_b = dw + size_t(b) * K * E;
    float* dbias_b = dbias + size_t(b) * E;
    std::memset(dw_b, 0, sizeof(float) * K * E);
    std::memset(dbias_b, 0, sizeof(float) * E);
    for (int t = T - 1; t >= 0; --t) {
      const S* row = x + (size_t(b) * T + t) * stride;
      float* now = ring.data() + size_t(t % K) * E;
      for (int k = 0; k < K; ++k) later[k] = ring.data() + size_t((t + K - 1 - k) % K) * E;
      for (int e = 0; e < E; e += LANES) {
        Vec a = load(bias + e);
        for (int k = 0; k < K; ++k) {
          const int back = K - 1 - k;
          if (t >= back) a += load(w + k * E + e) * load(row - size_t(back) * stride + e);
        }
        const Vec s = sigmoid(a);
        const Vec g = load(du + (size_t(b) * T + t) * E + e) * s * (1.0f + a * (1.0f - s));
        store(now + e, g);
        store(dbias_b + e, load(dbias_b + e) + g);
        Vec d{};
        for (int k = 0; k < K; ++k) {
          const int back = K - 1 - k;
          if (t >= back) {
            float* p = dw_b + k * E + e;
            store(p, load(p) + g * load(row - size_t(back) * stride + e));
          }
          if (t + back < T) {
            d += load(w + k * E + e) * load(later[k] + e);
          }
        }
        store(dx + (size_t(b) * T + t) * stride + e, d);
      }
    }
  });
}

// ---- selective scan with skip and gate (Mamba, algorithm 2) ----
//
// u [B,T,E], dt [B,T,E] before bias and softplus, bc [B,T,bc_stride] with B in columns 0..N and C
// in N..2N, z [B,T,z_stride], a2 [N,E] = A * log2(e), skip [E], dt_bias [E] y = (sum_n C_n h_n +
// skip * u) * silu(z), h_n = exp(delta A_n) h_n + delta B_n u. states [B, ceil(T/CHUNK), E/LANES,
// N, LANES]: the state at the start of every chunk.

struct Shape {
  int B, T, E, bc_stride, z_stride, threads;
};

template <class S, int N>
void load_bc(const S* bc, int stride, int steps, float (*b)[N], float (*c)[N]) {
  for (int t = 0; t < steps; ++t) {
    for (int n = 0; n < N; ++n) {
      b[t][n] = to_float(bc[size_t(t) * stride + n]);
      c[t][n] = to_float(bc[size_t(t) * stride + N + n]);
    }
  }
}

template <class S, int N>
void scan_forward(Shape s, const S* u, const S* dt, const S* bc, const S* z, const float* a2,
                  const float* skip, const float* dt_bias, S* y, float* states) {
  const int blocks = s.E / LANES, chunks = (s.T + CHUNK - 1) / CHUNK;
  parallel(s.B, s.threads, [&](int seq) {
    std::vector<float> carry(size_t(s.E) * N, 0.0f);
    float b[CHUNK][N], c[CHUNK][N];
    for (int chunk = 0; chunk < chunks; ++chunk) {
      const size_t t0 = size_t(seq) * s.T + chunk * CHUNK;
      const int steps = std::min(CHUNK, s.T - chunk * CHUNK);
      load_bc<S, N>(bc + t0 * s.bc_stride, s.bc_stride, steps, b, c);
      std::memcpy(states + (size_t(seq) * chunks + chunk) * s.E * N, carry.data(),
                  sizeof(float) * s.E * N);
      for (int block = 0; block < blocks; ++block) {
        const int e = block * LANES;
        float* carried = carry.data() + size_t(block) * N * LANES;
        Vec h[N];
        for (int n = 0; n < N; ++n) h[n] = load(carried + n * LANES);
        const Vec bias = load(dt_bias + e), d = load(skip + e);
        for (int t = 0; t < steps; ++t) {
          const Vec x = load(u + (t0 + t) * s.E + e);
          const Vec delta = softplus(load(dt + (t0 + t) * s.E + e) + bias);
          const Vec dx = delta * x;
          Vec sum = d * x;
#pragma GCC unroll 16
          for (int n = 0; n < N; ++n) {
            h[n] = exp2_of(delta * load(a2 + size_t(n) * s.E + e)) * h[n] + dx * b[t][n];
            sum += h[n] * c[t][n];
          }
          const Vec gate = load(z + (t0 + t) * s.z_stride + e);
          store(y + (t0 + t) * s.E + e, sum * gate * sigmoid(gate));
        }
        for (int n = 0; n < N; ++n) store(carried + n * LANES, h[n]);
      }
    }
  });
}

// dy [B,T,E] -> du, ddt [B,T,E], dbc (stride bc_stride), dz (stride z_stride) and, per sequence,
// da [B,N,E] (with respect to A), dskip, ddt_bias [B,E].
template <class S, int N>
void scan_backward(Shape s, const S* u, const S* dt, const S* bc, const S* z, const float* a2,
                   const float* skip, const float* dt_bias, const float* states, const S* dy, S* du,
                   S* ddt, S* dbc, S* dz, float* da, float* dskip, float* ddt_bias) {
  const int blocks = s.E / LANES, chunks = (s.T + CHUNK - 1) / CHUNK;
  parallel(s.B, s.threads, [&](int seq) {
    struct Scratch {
      Vec h[CHUNK + 1][N];  // states before and after each step
      Vec decay[CHUNK][N];
      Vec delta[CHUNK];
      Vec db[CHUNK][N], dc[CHUNK][N];  // not yet summed over the lanes
      float b[CHUNK][N], c[CHUNK][N];
    };
    std::vector<Scratch> memory(1);
    Scratch& m = memory[0];
    std::vector<float> carry(size_t(s.E) * N, 0.0f);  // gradient of the state, from the right
    float* da_b = da + size_t(seq) * N * s.E;
    float* dskip_b = dskip + size_t(seq) * s.E;
    float* dbias_b = ddt_bias + size_t(seq) * s.E;
    std::memset(da_b, 0, sizeof(float) * N * s.E);
    std::memset(dskip_b, 0, sizeof(float) * s.E);
    std::memset(dbias_b, 0, sizeof(float) * s.E);
    for (int chunk = chunks - 1; chunk >= 0; --chunk) {
      const size_t t0 = size_t(seq) * s.T + chunk * CHUNK;
      const int steps = std::min(CHUNK, s.T - chunk * CHUNK);
      load_bc<S, N>(bc + t0 * s.bc_stride, s.bc_stride, steps, m.b, m.c);
      std::memset(m.db, 0, sizeof m.db);
      std::memset(m.dc, 0, sizeof m.dc);
      const float* start = states + (size_t(seq) * chunks + chunk) * s.E * N;
      for (int block = 0; block < blocks; ++block) {
        const int e = block * LANES;
        const Vec bias = load(dt_bias + e), d = load(skip + e);
        for (int n = 0; n < N; ++n) m.h[0][n] = load(start + (size_t(block) * N + n) * LANES);
        for (int t = 0; t < steps; ++t) {
          const Vec delta = softplus(load(dt + (t0 + t) * s.E + e) + bias);
          const Vec dx = delta * load(u + (t0 + t) * s.E + e);
          m.delta[t] = delta;
#pragma GCC unroll 16
          for (int n = 0; n < N; ++n) {
            const Vec decay = exp2_of(delta * load(a2 + size_t(n) * s.E + e));
            m.decay[t][n] = decay;
            m.h[t + 1][n] = decay * m.h[t][n] + dx * m.b[t][n];
          }
        }
        float* carried = carry.data() + size_t(block) * N * LANES;
        Vec dh[N];
        for (int n = 0; n < N; ++n) dh[n] = load(carried + n * LANES);
        Vec dskip_sum = load(dskip_b + e), dbias_sum = load(dbias_b + e);
        for (int t = steps - 1; t >= 0; --t) {
          const size_t at = (t0 + t) * s.E + e;
          const Vec x = load(u + at), delta = m.delta[t];
          const Vec gate = load(z + (t0 + t) * s.z_stride + e);
          const Vec sig = sigmoid(gate);
          const Vec out = load(dy + at);
          const Vec g = out * gate * sig;  // gradient of the ungated output
          const Vec dx = delta * x;
          Vec ungated = d * x, ddx{}, ddelta2{};
#pragma GCC unroll 16
          for (int n = 0; n < N; ++n) {
            const Vec h = m.h[t + 1][n];
            ungated += h * m.c[t][n];
            dh[n] += g * m.c[t][n];
            m.dc[t][n] += g * h;
            m.db[t][n] += dh[n] * dx;
            ddx += dh[n] * m.b[t][n];
            const Vec carried_on = dh[n] * m.decay[t][n];
            const Vec q = carried_on * m.h[t][n];  // gradient of delta * A
            ddelta2 += q * load(a2 + size_t(n) * s.E + e);
            float* p = da_b + size_t(n) * s.E + e;
            store(p, load(p) + q * delta);
            dh[n] = carried_on;
          }
          const Vec ddelta = ddelta2 * (1.0f / LOG2_E) + ddx * x;
          const Vec draw = ddelta * (1.0f - exp2_of(-LOG2_E * delta));  // softplus' = 1 - e^-delta
          dskip_sum += g * x;
          dbias_sum += draw;
          store(du + at, ddx * delta + g * d);
          store(ddt + at, draw);
          store(dz + (t0 + t) * s.z_stride + e, out * ungated * sig * (1.0f + gate * (1.0f - sig)));
        }
        store(dskip_b + e, dskip_sum);
        store(dbias_b + e, dbias_sum);
        for (int n = 0; n < N; ++n) store(carried + n * LANES, dh[n]);
      }
      for (int t = 0; t < steps; ++t) {
        for (int n = 0; n < N; ++n) {
          put(dbc + (t0 + t) * s.bc_stride + n, sum(m.db[t][n]));
          put(dbc + (t0 + t) * s.bc_stride + N + n, sum(m.dc[t][n]));
        }
      }
    }
  });
}

// ---- residual addition + RMSNorm ----

constexpr int ROWS = 128;  // rows of one work item, and of one partial sum of the weight's gradient

// residual [rows,D] (float), x [rows,D] or null, w [D] -> out = residual + x, y = norm(out) * w
template <class S>
void norm_forward(int rows, int D, float eps, const float* residual, const S* x, const float* w,
                  float* out, S* y, int threads) {
  parallel((rows + ROWS - 1) / ROWS, threads, [&](int item) {
    for (int r = item * ROWS; r < std::min(rows, (item + 1) * ROWS); ++r) {
      const size_t at = size_t(r) * D;
      Vec squares{};
      for (int i = 0; i < D; i += LANES) {
        Vec v = load(residual + at + i);
        if (x) v += load(x + at + i);
        store(out + at + i, v);
        squares += v * v;
      }
      const float scale = 1.0f / std::sqrt(sum(squares) / D + eps);
      for (int i = 0; i < D; i += LANES) {
        store(y + at + i, load(out + at + i) * scale * load(w + i));
      }
    }
  });
}

// dy [rows,D], dout [rows,D] (float, or null) -> dresidual (float) and the same as dx (or null),
// dw [items,D] partial sums
template <class S>
void norm_backward(int rows, int D, float eps, const float* out, const float* w, const S* dy,
                   const float* dout, float* dresidual, S* dx, float* dw, int threads) {
  parallel((rows + ROWS - 1) / ROWS, threads, [&](int item) {
    float* dw_item = dw + size_t(item) * D;
    std::memset(dw_item, 0, sizeof(float) * D);
    for (int r = item * ROWS; r < std::min(rows, (item + 1) * ROWS); ++r) {
      const size_t at = size_t(r) * D;
      Vec squares{}, dots{};
      for (int i = 0; i < D; i += LANES) {
        const Vec v = load(out + at + i);
        squares += v * v;
        dots += v * load(dy + at + i) * load(w + i);
      }
      const float scale = 1.0f / std::sqrt(sum(squares) / D + eps);
      const float along = sum(dots) * scale * scale * scale / D;
      for (int i = 0; i < D; i += LANES) {
        const Vec v = load(out + at + i), g = load(dy + at + i);
        store(dw_item + i, load(dw_item + i) + g * v * scale);
        Vec d = g * load(w + i) * scale - v * along;
        if (dout) d += load(dout + at + i);
        store(dresidual + at + i, d);
        if (dx) store(dx + at + i, d);
      }
    }
  });
}

// ---- cross-entropy ----

struct Softmax {
  float maximum, log_total, factor;  // p_i = exp(x_i - maximum) factor
};

// exps [V]: exp(x_i - maximum)
template <class S>
Softmax softmax(int V, const S* row, float* exps) {
  Vec top = load(row);
  for (int i = LANES; i < V; i += LANES) {
    const Vec v = load(row + i);
    top = v > top ? v : top;
  }
  float maximum = top[0];
  for (int i = 1; i < LANES; ++i) maximum = std::max(maximum, top[i]);
  Vec sums{};
  for (int i = 0; i < V; i += LANES) {
    const Vec p = exp2_of((load(row + i) - maximum) * LOG2_E);
    sums += p;
    store(exps + i, p);
  }
  const float total = sum(sums);
  return {maximum, std::log(total), 1.0f / total};
}

// logits [rows,V] become their own gradient (softmax - one hot) * scale; loss [rows]
template <class S>
void cross_entropy(int rows, int V, S* logits, const int64_t* target, float scale, float* loss,
                   int threads) {
  parallel((rows + 15) / 16, threads, [&](int item) {
    std::vector<float> exps(V);
    for (int r = item * 16; r < std::min(rows, item * 16 + 16); ++r) {
      S* row = logits + size_t(r) * V;
      const Softmax p = softmax(V, row, exps.data());
      loss[r] = p.maximum + p.log_total - to_float(row[target[r]]);
      const float factor = scale * p.factor;
      for (int i = 0; i < V; i += LANES) store(row + i, load(exps.data() + i) * factor);
      put(row + target[r], exps[target[r]] * factor - scale);
    }
  });
}

// ---- divergence from a teacher ----

// logits [rows,V] become the gradient of share * cross-entropy + (1 - share) * KL(teacher ||
// model), times scale; kl, nll [rows] are the two by themselves
template <class S>
void divergence(int rows, int V, S* logits, const S* teacher, const int64_t* target, float share,
                float scale, float* kl, float* nll, int threads) {
  parallel((rows + 15) / 16, threads, [&](int item) {
    std::vector<float> ours(V), theirs(V);
    for (int r = item * 16; r < std::min(rows, item * 16 + 16); ++r) {
      S* row = logits + size_t(r) * V;
      const S* goal = teacher + size_t(r) * V;
      const Softmax q = softmax(V, row, ours.data()), p = softmax(V, goal, theirs.data());
      const float shift = q.maximum + q.log_total - p.maximum - p.log_total;
      nll[r] = q.maximum + q.log_total - to_float(row[target[r]]);
      Vec sums{};
      for (int i = 0; i < V; i += LANES) {
        const Vec chance = load(theirs.data() + i) * p.factor;
        sums += chance * (load(goal + i) - load(row + i) + shift);
        store(ours.data() + i,
              (load(ours.data() + i) * q.factor - (1.0f - share) * chance) * scale);
      }
      kl[r] = sum(sums);
      ours[target[r]] -= share * scale;
      for (int i = 0; i < V; i += LANES) store(row + i, load(ours.data() + i));
    }
  });
}

}  // namespace

#define EXPORT(S, SUFFIX)                                                                          \
  extern "C" void conv_forward_##SUFFIX(int B, int T, int E, int stride, int K, const S* x,        \
                                        const float* w, const float* bias, S* u, int threads) {    \
    conv_forward<S>(B, T, E, stride, K, x, w, bias, u, threads);                                   \
  }                                                                                                \
  extern "C" void conv_backward_##SUFFIX(int B, int T, int E, int stride, int K, const S* x,       \
                                         const float* w, const float* bias, const S* du, S* dx,    \
                                         float* dw, float* dbias, int threads) {                   \
    conv_backward<S>(B, T, E, stride, K, x, w, bias, du, dx, dw, dbias, threads);                  \
  }                                                                                                \
  extern "C" void scan_forward_##SUFFIX(int B, int T, int E, int bc_stride, int z_stride,          \
                                        int threads, const S* u, const S* dt, const S* bc,         \
                                        const S* z, const float* a2, const float* skip,            \
                                        const float* dt_bias, S* y, float* states) {               \
    scan_forward<S, 16>({B, T, E, bc_stride, z_stride, threads}, u, dt, bc, z, a2, skip, dt_bias,  \
                        y, states);                                                                \
  }                                                                                                \
  extern "C" void scan_backward_##SUFFIX(                                                          \
      int B, int T, int E, int bc_stride, int z_stride, int threads, const S* u, const S* dt,      \
      const S* bc, const S* z, const float* a2, const float* skip, const float* dt_bias,           \
      const float* states, const S* dy, S* du, S* ddt, S* dbc, S* dz, float* da, float* dskip,     \
      float* ddt_bias) {                                                                           \
    scan_backward<S, 16>({B, T, E, bc_stride, z_stride, threads}, u, dt, bc, z, a2, skip, dt_bias, \
                         states, dy, du, ddt, dbc, dz, da, dskip, ddt_bias);                       \
  }                                                                                                \
  extern "C" void norm_forward_##SUFFIX(int rows, int D, float eps, const float* residual,         \
                                        const S* x, const float* w, float* out, S* y,              \
                                        int threads) {                                             \
    norm_forward<S>(rows, D, eps, residual, x, w, out, y, threads);                                \
  }                                                                                                \
  extern "C" void norm_backward_##SUFFIX(int rows, int D, float eps, const float* out,             \
                                         const float* w, const S* dy, const float* dout,           \
                                         float* dresidual, S* dx, float* dw, int threads) {        \
    norm_backward<S>(rows, D, eps, out, w, dy, dout, dresidual, dx, dw, threads);                  \
  }                                                                                                \
  extern "C" void cross_entropy_##SUFFIX(int rows, int V, S* logits, const int64_t* target,        \
                                         float scale, float* loss, int threads) {                  \
    cross_entropy<S>(rows, V, logits, target, scale, loss, threads);                               \
  }                                                                                                \
  extern "C" void divergence_##SUFFIX(int rows, int V, S* logits, const S* teacher,                \
                                      const int64_t* target, float share, float scale, float* kl,  \
                                      float* nll, int threads) {                                   \
    divergence<S>(rows, V, logits, teacher, target, share, scale, kl, nll, threads);               \
  }

EXPORT(float, f32)
EXPORT(Bf16, bf16)
