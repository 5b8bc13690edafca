// exp2, exp, SiLU, softplus and quantization over Vec, to the bit. Include after a vec header.
//
// Polynomials are minimax fits of relative error on the interval given, rounded to f32 one
// coefficient after the other, evaluated by Horner's rule with fma. exp2 and exp have a relative
// error below 1e-7 and SiLU and softplus below 3e-7 wherever the exact result is a normal number
// and no clamp acts. NaN gives NaN.
#pragma once

namespace krait {
namespace {

// 1.5 * 2^23: adding it to |x| < 2^22 rounds x half to even and leaves the integer in the low bits.
constexpr float kRoundingShift = 0x1.8p23f;

/// 2^f 2^n for |f| <= 1/2 and t = 1.5 * 2^23 + n: 1 + f (c1 + f (c2 + ... + f c6)).
inline Vec exp2_of_parts(Vec f, Vec t) {
  Vec p = fma(broadcast(0x1.416b6cp-13f), f, broadcast(0x1.5f0834p-10f));
  p = fma(p, f, broadcast(0x1.3b2dep-7f));
  p = fma(p, f, broadcast(0x1.c6af7cp-5f));
  p = fma(p, f, broadcast(0x1.ebfbdcp-3f));
  p = fma(p, f, broadcast(0x1.62e43p-1f));
  p = fma(p, f, broadcast(1.0f));
  return add_exponent(p, t);
}

/// 2^x for x <= 126; x below -126 gives 2^-126, -infinity included.
/// x is clamped, t = x + 1.5 * 2^23, n = t - 1.5 * 2^23 (the nearest integer), f = x - n.
inline Vec exp2(Vec x) {
  x = max(broadcast(-126.0f), x);
  const Vec t = x + broadcast(kRoundingShift);
  return exp2_of_parts(x - (t - broadcast(kRoundingShift)), t);
}

/// e^x, x clamped to +-126 ln 2. t = fma(x, log2 e, 1.5 * 2^23), n = t - 1.5 * 2^23,
/// f = fma(x, high, -n) and then fma(x, low, f), where high + low = log2 e to twice the precision.
inline Vec exp(Vec x) {
  constexpr float bound = 0x1.5d589ep+6f;  // 126 ln 2 rounded down: 87.33654
  constexpr float high = 0x1.715476p+0f, low = 0x1.4ae0cp-26f;
  x = min(broadcast(bound), max(broadcast(-bound), x));
  const Vec t = fma(x, broadcast(high), broadcast(kRoundingShift));
  const Vec minus_n = broadcast(kRoundingShift) - t;
  const Vec f = fma(x, broadcast(low), fma(x, broadcast(high), minus_n));
  return exp2_of_parts(f, t);
}

/// x / (1 + exp(-x)), with -x = 0 - x.
inline Vec silu(Vec x) { return x / (broadcast(1.0f) + exp(broadcast(0.0f) - x)); }

/// log(1 + e^x) = max(x, 0) + log1p(e), e = exp(-|x|), where log1p(e) = 2 atanh(s) for
/// s = e / (2 + e), and 2 atanh(s) = fma(2 s w, P(w), 2 s) with w = s^2 in (0, 1/9].
inline Vec softplus(Vec x) {
  const Vec e = exp(broadcast(0.0f) - abs(x));
  const Vec s = e / (broadcast(2.0f) + e);
  const Vec w = s * s;
  Vec p = fma(broadcast(0x1.1eca06p-3f), w, broadcast(0x1.1ec042p-3f));
  p = fma(p, w, broadcast(0x1.99d1ccp-3f));
  p = fma(p, w, broadcast(0x1.555502p-2f));
  const Vec twice = s + s;
  return max(broadcast(0.0f), x) + fma(twice * w, p, twice);
}

/// q = clamp(rne(x / scale), -128, 127); clamping first gives the same and keeps rne in range.
/// NaN becomes -128.
inline Ints quantized(Vec x, Vec scale) {
  return round_to_int(min(max(x / scale, broadcast(-128.0f)), broadcast(127.0f)));
}

}  // namespace
}  // namespace krait
