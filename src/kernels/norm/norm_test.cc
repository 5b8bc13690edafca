#include "kernels/norm/norm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kernels/norm/norm_kernels.h"
#include "kernels/quantize/quantize.h"
#include "kernels/test_support.h"

namespace krait {
namespace {

constexpr std::int64_t kCols[] = {1, 3, 7, 8, 15, 16, 17, 24, 31, 40, 63, 64, 100, 384, 769};
constexpr float kEps = 1e-5f;

class Norm : public ForEachIsa {};
INSTANTIATE_TEST_SUITE_P(Isas, Norm, supported_isas(), isa_name);

TEST_P(Norm, AgreesWithDoublePrecision) {
  Rng rng(4);
  TestContext test(GetParam());
  for (std::int64_t cols : kCols) {
    const std::int64_t rows = 3;
    const std::vector<float> residual = random_floats(rng, rows * cols, 2.0);
    const std::vector<float> add = random_floats(rng, rows * cols, 1.0);
    const std::vector<float> weight = random_floats(rng, cols, 1.5);
    std::vector<float> r = residual, y(residual.size());
    add_rms_norm(test.ctx, r.data(), add.data(), weight.data(), kEps,
                 f32_activation(y.data(), rows, cols));
    for (std::int64_t t = 0; t < rows; ++t) {
      double squares = 0;
      for (std::int64_t c = 0; c < cols; ++c) {
        const std::size_t i = static_cast<std::size_t>(t * cols + c);
        EXPECT_EQ(r[i], residual[i] + add[i]);
        squares += static_cast<double>(r[i]) * r[i];
      }
      const double scale = 1 / std::sqrt(squares / static_cast<double>(cols) + kEps);
      for (std::int64_t c = 0; c < cols; ++c) {
        const std::size_t i = static_cast<std::size_t>(t * cols + c);
        const double wanted = r[i] * scale * weight[static_cast<std::size_t>(c)];
        EXPECT_NEAR(y[i], wanted, 5e-7 * std::abs(wanted));
      }
    }
  }
}

TEST_P(Norm, SumRunsInSixteenLanesAndATree) {
  Rng rng(5);
  for (std::int64_t n : kCols) {
    const std::vector<float> r = random_floats(rng, n, 100.0);
    float lane[16] = {};
    for (std::int64_t k = 0; k < n; ++k) {
      const float v = r[static_cast<std::size_t>(k)];
      lane[k % 16] = std::fma(v, v, lane[k % 16]);
    }
    for (int half : {8, 4, 2, 1}) {
      for (int l = 0; l < half; ++l) lane[l] += lane[l + half];
    }
    Guarded<float> in(r);
    EXPECT_EQ(microkernels(GetParam()).norm->add_sum_of_squares(in.data(), nullptr, n), lane[0]);
  }
}

// Reference, this instruction set, any number of threads, any numerics of y: the same bytes.
TEST_P(Norm, SameBitsAsReference) {
  Rng rng(6);
  for (std::int64_t cols : kCols) {
    for (std::int64_t rows : {1, 5, 700}) {
      if (rows * cols > 100000) continue;
      std::vector<float> residual = random_floats(rng, rows * cols, 2.0);
      const std::vector<float> add = random_floats(rng, rows * cols, 1.0);
      const std::vector<float> weight = random_floats(rng, cols, 1.5);
      residual[0] = 1e18f;
      residual.back() = -0.0f;
      for (const Numerics& numerics : kAllNumerics) {
        TestContext reference(Isa::reference);
        std::vector<float> expected_r = residual;
        TestActivation expected(numerics, rows, cols, 0.02f, 3);
        add_rms_norm(reference.ctx, expected_r.data(), add.data(), weight.data(), kEps,
                     expected.view);
        EXPECT_TRUE(expected.gaps_untouched());
        for (int threads : {1, 2, 5}) {
          TestContext test(GetParam(), threads);
          std::vector<float> r = residual;
          TestActivation y(numerics, rows, cols, 0.02f, 3);
          add_rms_norm(test.ctx, r.data(), add.data(), weight.data(), kEps, y.view);
          ASSERT_TRUE(same_bits(r, expected_r));
          ASSERT_TRUE(y.same_bits_as(expected));
        }
      }
    }
  }
}

// Quantizing as part of the norm is quantizing its f32 result.
TEST_P(Norm, QuantizedIsTheQuantizedFloatResult) {
  Rng rng(7);
  TestContext test(GetParam());
  const std::int64_t rows = 9, cols = 100;
  const std::vector<float> residual = random_floats(rng, rows * cols, 2.0);
  const std::vector<float> weight = random_floats(rng, cols, 1.5);
  std::vector<float> r = residual, y(residual.size());
  add_rms_norm(test.ctx, r.data(), nullptr, weight.data(), kEps,
               f32_activation(y.data(), rows, cols));
  EXPECT_TRUE(same_bits(r, residual));
  for (const Numerics& numerics : kAllNumerics) {
    TestActivation fused(numerics, rows, cols, 0.02f), separate(numerics, rows, cols, 0.02f);
    add_rms_norm(test.ctx, r.data(), nullptr, weight.data(), kEps, fused.view);
    quantize(test.ctx, f32_activation(y.data(), rows, cols), separate.view);
    EXPECT_TRUE(fused.same_bits_as(separate));
  }
}

TEST_P(Norm, ZerosGiveZeros) {
  TestContext test(GetParam());
  std::vector<float> r(20, 0.0f), weight(20, 1.0f), y(20, 1.0f);
  add_rms_norm(test.ctx, r.data(), nullptr, weight.data(), kEps, f32_activation(y.data(), 1, 20));
  for (float v : y) EXPECT_EQ(v, 0.0f);
}

}  // namespace
}  // namespace krait
