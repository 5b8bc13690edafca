// nonlinearity_kernels.h over Vec: included by one file per instruction set, after its vec header.
#pragma once

#include "kernels/nonlinearity/nonlinearity_kernels.h"
#include "kernels/vec_math.h"

namespace krait {
namespace {

/// The tail a Phi(-a) is a t P(t) exp(-a^2 / 2), where P is a minimax fit of relative error over
/// a in [0, 14] that goes on to infinity; 2e-8 before coefficients were rounded, 4e-8 after.
void gelu(const float* x, float* y, std::int64_t n) {
  for_blocks<kLanes>(n, [&](std::int64_t i, auto part) {
    const Vec v = load(x + i, part);
    const Vec a = min(abs(v), broadcast(64.0f));
    const Vec t = broadcast(1.0f) / (broadcast(1.0f) + a * broadcast(0x1.111112p-2f));
    Vec p = fma(broadcast(0x1.effd9ap-6f), t, broadcast(-0x1.1b9efap-3f));
    p = fma(p, t, broadcast(0x1.9cf6c8p-3f));
    p = fma(p, t, broadcast(-0x1.99b150p-4f));
    p = fma(p, t, broadcast(0x1.04b65cp-3f));
    p = fma(p, t, broadcast(0x1.086ae2p-4f));
    p = fma(p, t, broadcast(0x1.a310b6p-4f));
    p = fma(p, t, broadcast(0x1.b2492cp-4f));
    p = fma(p, t, broadcast(0x1.b3d0d4p-4f));
    const Vec e = exp(broadcast(0.0f) - (a * a) * broadcast(0.5f));
    const Vec tail = (a * (p * t)) * e;
    store(y + i, max(broadcast(0.0f), v) - tail, part);
  });
}

void gelu_tanh(const float* x, float* y, std::int64_t n) {
  constexpr float c2 = 0x1.988454p+0f;     // 2 sqrt(2 / pi)
  constexpr float cubic = 0x1.2444f2p-4f;  // 2 sqrt(2 / pi) 0.044715
  for_blocks<kLanes>(n, [&](std::int64_t i, auto part) {
    const Vec v = load(x + i, part);
    const Vec w = v * fma(v * v, broadcast(cubic), broadcast(c2));
    store(y + i, v / (broadcast(1.0f) + exp(broadcast(0.0f) - w)), part);
  });
}

void silu_product(const float* gate, const float* up, float* y, std::int64_t n) {
  for_blocks<kLanes>(n, [&](std::int64_t i, auto part) {
    store(y + i, silu(load(gate + i, part)) * load(up + i, part), part);
  });
}

constexpr NonlinearityKernels kNonlinearityKernels{gelu, gelu_tanh, silu_product};

}  // namespace
}  // namespace krait
