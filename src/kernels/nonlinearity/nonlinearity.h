// What stands between the products of a feed-forward block, quantized as y asks, row by row in one
// pass.
//
// Numerics, per element, all operations IEEE:
//  * gelu, x Phi(x) with the normal distribution (Hendrycks and Gimpel 2016, arXiv 1606.08415):
//    a = min(|x|, 64), t = 1 / (1 + a * (4 / 15)), p = a polynomial of degree 8 in t (fma, Horner),
//    tail = (a * (p * t)) * exp(-(a * a) * 0.5), y = max(x, 0) - tail. The absolute error is below
//    3e-7 and, for x > -5, the relative one below 1e-6.
//  * gelu_tanh, the approximation with tanh of the same paper: w = x * fma(x * x, 2 c 0.044715, 2
//  c)
//    with c = sqrt(2 / pi), y = x / (1 + exp(0 - w)).
//  * silu_product: silu(gate) * up.
#pragma once

#include "kernels/context.h"

namespace krait {

enum class Gelu { erf, tanh };

/// x f32 [T, C] -> y [T, C] in its numerics. y may be x.
inline void gelu(Context& ctx, Gelu form, const Activation& x, const Activation& y) {
  ctx.operations.gelu(ctx, form, x, y);
}

/// gate and up f32 [T, C] -> y [T, C] = silu(gate) * up (Shazeer 2020, arXiv 2002.05202). y may be
/// one of the two.
inline void silu_product(Context& ctx, const Activation& gate, const Activation& up,
                         const Activation& y) {
  ctx.operations.silu_product(ctx, gate, up, y);
}

}  // namespace krait
