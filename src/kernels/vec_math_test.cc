// The polynomials of vec_math.h against the standard library in double precision. The other
// instruction sets are compared with the reference through the operations that use them.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kernels/vec_reference.h"

#include "kernels/vec_math.h"

namespace krait {
namespace {

template <typename F, typename Exact>
double worst_relative_error(float low, float high, F f, Exact exact) {
  double worst = 0;
  constexpr int kSteps = 40000;
  for (int i = 0; i <= kSteps; ++i) {
    const float x = low + (high - low) * static_cast<float>(i) / kSteps;
    const double wanted = exact(static_cast<double>(x));
    const double got = f(broadcast(x)).lane[0];
    if (wanted != 0) worst = std::max(worst, std::abs(got - wanted) / std::abs(wanted));
  }
  return worst;
}

TEST(VecMath, RelativeErrors) {
  const auto exact_silu = [](double x) { return x / (1 + std::exp(-x)); };
  const auto exact_softplus = [](double x) {
    return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x)));
  };
  const auto exact_exp2 = [](double x) { return std::exp2(x); };
  const auto exact_exp = [](double x) { return std::exp(x); };
  EXPECT_LT(worst_relative_error(-126, 126, exp2, exact_exp2), 1e-7);
  EXPECT_LT(worst_relative_error(-1, 1, exp2, exact_exp2), 1e-7);
  EXPECT_LT(worst_relative_error(-87.3f, 87.3f, exp, exact_exp), 1e-7);
  EXPECT_LT(worst_relative_error(-1, 1, exp, exact_exp), 1e-7);
  EXPECT_LT(worst_relative_error(-80, 100, silu, exact_silu), 3e-7);
  EXPECT_LT(worst_relative_error(-2, 2, silu, exact_silu), 3e-7);
  EXPECT_LT(worst_relative_error(-87, 100, softplus, exact_softplus), 3e-7);
  EXPECT_LT(worst_relative_error(-3, 3, softplus, exact_softplus), 3e-7);
}

TEST(VecMath, EndsOfTheDomain) {
  constexpr float inf = std::numeric_limits<float>::infinity();
  const auto at = [](auto f, float x) { return f(broadcast(x)).lane[0]; };
  EXPECT_EQ(at(exp2, 0.0f), 1.0f);
  EXPECT_EQ(at(exp2, -0.0f), 1.0f);
  EXPECT_EQ(at(exp2, -126.0f), 0x1p-126f);
  EXPECT_EQ(at(exp2, -1e30f), 0x1p-126f);
  EXPECT_EQ(at(exp2, -inf), 0x1p-126f);
  EXPECT_EQ(at(exp, 0.0f), 1.0f);
  EXPECT_EQ(at(exp, inf), at(exp, 88.0f));
  EXPECT_EQ(at(exp, -inf), at(exp, -88.0f));
  EXPECT_EQ(at(silu, 0.0f), 0.0f);
  EXPECT_EQ(at(silu, 100.0f), 100.0f);
  EXPECT_EQ(at(softplus, 100.0f), 100.0f);
  EXPECT_EQ(at(softplus, 1e30f), 1e30f);
  EXPECT_GT(at(softplus, -1e30f), 0.0f);
  EXPECT_LT(at(softplus, -1e30f), 1.2e-38f);
  for (float nan : {std::nanf(""), -std::nanf("")}) {
    EXPECT_TRUE(std::isnan(at(exp2, nan)));
    EXPECT_TRUE(std::isnan(at(exp, nan)));
    EXPECT_TRUE(std::isnan(at(silu, nan)));
    EXPECT_TRUE(std::isnan(at(softplus, nan)));
  }
}

TEST(VecMath, RoundsHalfToEven) {
  for (float x : {-2.5f, -1.5f, -0.5f, 0.5f, 1.5f, 2.5f, 127.49f, -128.0f, 4194303.5f}) {
    EXPECT_EQ(round_to_int(broadcast(x)).lane[0], static_cast<int>(std::nearbyint(x)));
  }
}

}  // namespace
}  // namespace krait
