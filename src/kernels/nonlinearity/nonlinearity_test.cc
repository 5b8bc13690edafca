#include "kernels/nonlinearity/nonlinearity.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kernels/nonlinearity/nonlinearity_kernels.h"
#include "kernels/quantize/quantize.h"
#include "kernels/test_support.h"

namespace krait {
namespace {

constexpr std::int64_t kSizes[] = {0, 1, 3, 7, 8, 9, 15, 16, 17, 24, 31, 33, 64, 100, 769};

class Nonlinearity : public ForEachIsa {};
INSTANTIATE_TEST_SUITE_P(Isas, Nonlinearity, supported_isas(), isa_name);

/// Values from -20 to 20, and those where something could break.
std::vector<float> grid() {
  std::vector<float> x;
  for (int i = -20000; i <= 20000; ++i) x.push_back(static_cast<float>(i) * 1e-3f);
  for (float v : {1e-30f, 1e-40f, 1e-8f, 63.9f, 64.1f, 1e4f, 1e10f, 3e38f}) {
    x.push_back(v);
    x.push_back(-v);
  }
  return x;
}

TEST_P(Nonlinearity, GeluIsXTimesTheNormalDistribution) {
  const std::vector<float> x = grid();
  std::vector<float> y(x.size());
  microkernels(GetParam()).nonlinearity->gelu(x.data(), y.data(), std::ssize(x));
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double exact = 0.5 * x[i] * std::erfc(-x[i] / std::sqrt(2.0));
    EXPECT_NEAR(y[i], exact, std::max(3e-7, 3e-7 * std::abs(exact))) << x[i];
    if (x[i] > -5) {
      EXPECT_NEAR(y[i], exact, 1e-6 * std::abs(exact)) << x[i];
    }
  }
}

TEST_P(Nonlinearity, GeluTanhIsTheApproximationOfThePaper) {
  const std::vector<float> x = grid();
  std::vector<float> y(x.size());
  microkernels(GetParam()).nonlinearity->gelu_tanh(x.data(), y.data(), std::ssize(x));
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double v = x[i], u = std::sqrt(2 / M_PI) * (v + 0.044715 * v * v * v);
    const double exact = u < -300 ? 0 : v / (1 + std::exp(-2 * u));
    // exp is clamped at 2^126: far out, what should be 0 is as small as x / 2^126.
    EXPECT_NEAR(y[i], exact, 1e-6 * std::abs(exact) + 3e-7 + std::abs(v) * 0x1p-125) << x[i];
  }
}

TEST_P(Nonlinearity, SiluProductIsTheProduct) {
  Rng rng(2);
  const std::vector<float> gate = grid();
  const std::vector<float> up = random_floats(rng, std::ssize(gate), 3.0);
  std::vector<float> y(gate.size());
  microkernels(GetParam())
      .nonlinearity->silu_product(gate.data(), up.data(), y.data(), std::ssize(gate));
  for (std::size_t i = 0; i < gate.size(); ++i) {
    if (std::abs(gate[i]) > 80) continue;
    const double g = gate[i], exact = g / (1 + std::exp(-g)) * static_cast<double>(up[i]);
    EXPECT_NEAR(y[i], exact, 1e-6 * std::abs(exact) + 1e-37) << gate[i];
  }
}

TEST_P(Nonlinearity, SurvivesExtremes) {
  constexpr float inf = std::numeric_limits<float>::infinity();
  const std::vector<float> x = {inf, -inf, std::nanf(""), 0.0f, -0.0f};
  for (const auto kernel : {microkernels(GetParam()).nonlinearity->gelu,
                            microkernels(GetParam()).nonlinearity->gelu_tanh}) {
    std::vector<float> y(x.size());
    kernel(x.data(), y.data(), std::ssize(x));
    EXPECT_EQ(y[0], inf);
    EXPECT_TRUE(std::isnan(y[2]));
    EXPECT_EQ(y[3], 0.0f);
    EXPECT_EQ(y[4], 0.0f);
  }
}

TEST_P(Nonlinearity, MicrokernelsMatchReferenceForAnyLength) {
  const NonlinearityKernels& reference = *microkernels(Isa::reference).nonlinearity;
  const NonlinearityKernels& kernels = *microkernels(GetParam()).nonlinearity;
  Rng rng(3);
  for (std::int64_t n : kSizes) {
    const Guarded<float> x(random_floats(rng, n, 6.0)), up(random_floats(rng, n, 2.0));
    Guarded<float> expected(n), y(n);
    const auto expect_same = [&] {
      EXPECT_EQ(std::memcmp(y.data(), expected.data(), static_cast<std::size_t>(n) * 4), 0) << n;
    };
    reference.gelu(x.data(), expected.data(), n);
    kernels.gelu(x.data(), y.data(), n);
    expect_same();
    reference.gelu_tanh(x.data(), expected.data(), n);
    kernels.gelu_tanh(x.data(), y.data(), n);
    expect_same();
    reference.silu_product(x.data(), up.data(), expected.data(), n);
    kernels.silu_product(x.data(), up.data(), y.data(), n);
    expect_same();
  }
}

// Reference, this instruction set, any number of threads, any numerics of y: the same bytes, and
// those of quantizing the f32 result.
TEST_P(Nonlinearity, SameBitsAsReferenceInAllNumerics) {
  Rng rng(6);
  for (const auto& [rows, cols] : {std::pair{1, 40}, {5, 33}, {300, 24}}) {
    TestActivation x(kAllNumerics[0], rows, cols, 1, 2), up(kAllNumerics[0], rows, cols, 1, 5);
    for (TestActivation* in : {&x, &up}) {
      in->f32 = random_floats(rng, std::ssize(in->f32), 4.0);
      in->view.data = in->f32.data();
    }
    for (const Numerics& numerics : kAllNumerics) {
      for (int op = 0; op < 3; ++op) {
        const auto run = [&](Isa isa, int threads, const Activation& y) {
          TestContext test(isa, threads);
          if (op == 2) {
            silu_product(test.ctx, x.view, up.view, y);
          } else {
            gelu(test.ctx, op == 0 ? Gelu::erf : Gelu::tanh, x.view, y);
          }
        };
        TestActivation expected(numerics, rows, cols, 0.02f, 3),
            floats(kAllNumerics[0], rows, cols, 1);
        TestActivation separate(numerics, rows, cols, 0.02f, 3);
        run(Isa::reference, 1, expected.view);
        run(Isa::reference, 1, floats.view);
        TestContext test(Isa::reference);
        quantize(test.ctx, floats.view, separate.view);
        EXPECT_TRUE(expected.same_bits_as(separate));
        for (int threads : {1, 2, 5}) {
          TestActivation y(numerics, rows, cols, 0.02f, 3);
          run(GetParam(), threads, y.view);
          ASSERT_TRUE(y.same_bits_as(expected));
          EXPECT_TRUE(y.gaps_untouched());
        }
      }
    }
  }
}

}  // namespace
}  // namespace krait
