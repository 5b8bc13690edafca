// add_layer_norm of norm.h; norm_test.cc has the rest.
#include <gtest/gtest.h>

#include <cmath>

#include "kernels/norm/norm.h"
#include "kernels/quantize/quantize.h"
#include "kernels/test_support.h"

namespace krait {
namespace {

constexpr std::int64_t kCols[] = {1, 3, 7, 8, 15, 16, 17, 24, 31, 40, 63, 64, 100, 384, 769};
constexpr float kEps = 1e-5f;

class LayerNorm : public ForEachIsa {};
INSTANTIATE_TEST_SUITE_P(Isas, LayerNorm, supported_isas(), isa_name);

TEST_P(LayerNorm, AgreesWithDoublePrecision) {
  Rng rng(4);
  TestContext test(GetParam());
  for (std::int64_t cols : kCols) {
    const std::int64_t rows = 3;
    const std::vector<float> residual = random_floats(rng, rows * cols, -1.0, 3.0);
    const std::vector<float> add = random_floats(rng, rows * cols, 1.0);
    const std::vector<float> weight = random_floats(rng, cols, 1.5);
    const std::vector<float> bias = random_floats(rng, cols, 1.5);
    std::vector<float> r = residual, y(residual.size());
    add_layer_norm(test.ctx, r.data(), add.data(), weight.data(), bias.data(), kEps,
                   f32_activation(y.data(), rows, cols));
    for (std::int64_t t = 0; t < rows; ++t) {
      const auto at = [&](std::int64_t c) { return static_cast<std::size_t>(t * cols + c); };
      double mean = 0, variance = 0;
      for (std::int64_t c = 0; c < cols; ++c) {
        EXPECT_EQ(r[at(c)], residual[at(c)] + add[at(c)]);
        mean += static_cast<double>(r[at(c)]) / static_cast<double>(cols);
      }
      for (std::int64_t c = 0; c < cols; ++c) {
        variance += std::pow(r[at(c)] - mean, 2) / static_cast<double>(cols);
      }
      for (std::int64_t c = 0; c < cols; ++c) {
        const auto i = static_cast<std::size_t>(c);
        const double wanted = (r[at(c)] - mean) / std::sqrt(variance + kEps) * weight[i] + bias[i];
        EXPECT_NEAR(y[at(c)], wanted, cols == 1 ? 1e-4 : 3e-6);
      }
    }
  }
}

// As norm.h specifies it, in plain loops.
TEST_P(LayerNorm, SumsRunInSixteenLanesAndATree) {
  Rng rng(5);
  TestContext test(GetParam());
  const auto tree = [](float(&lane)[16]) {
    for (int half : {8, 4, 2, 1}) {
      for (int l = 0; l < half; ++l) lane[l] += lane[l + half];
    }
    return lane[0];
  };
  for (std::int64_t n : kCols) {
    const std::vector<float> r = random_floats(rng, n, -90.0, 100.0);
    const std::vector<float> weight = random_floats(rng, n, 1.5), bias = random_floats(rng, n, 1.5);
    float sum[16] = {}, squares[16] = {};
    for (std::int64_t k = 0; k < n; ++k) sum[k % 16] += r[static_cast<std::size_t>(k)];
    const float mean = tree(sum) / static_cast<float>(n);
    for (std::int64_t k = 0; k < n; ++k) {
      const float d = r[static_cast<std::size_t>(k)] - mean;
      squares[k % 16] = std::fma(d, d, squares[k % 16]);
    }
    const float scale = 1.0f / std::sqrt(tree(squares) / static_cast<float>(n) + kEps);
    Guarded<float> in(r), y(n);
    add_layer_norm(test.ctx, in.data(), nullptr, weight.data(), bias.data(), kEps,
                   f32_activation(y.data(), 1, n));
    for (std::int64_t k = 0; k < n; ++k) {
      const auto i = static_cast<std::size_t>(k);
      EXPECT_EQ(y[k], std::fma((r[i] - mean) * scale, weight[i], bias[i]));
    }
  }
}

TEST_P(LayerNorm, SameBitsAsReference) {
  Rng rng(6);
  for (std::int64_t cols : kCols) {
    for (std::int64_t rows : {1, 5, 300}) {
      if (rows * cols > 50000) continue;
      const std::vector<float> residual = random_floats(rng, rows * cols, -1.0, 2.0);
      const std::vector<float> add = random_floats(rng, rows * cols, 1.0);
      const std::vector<float> weight = random_floats(rng, cols, 1.5);
      const std::vector<float> bias = random_floats(rng, cols, 1.5);
      for (const Numerics& numerics : kAllNumerics) {
        const auto run = [&](Isa isa, int threads, std::vector<float>& r, TestActivation& y) {
          TestContext test(isa, threads);
          add_layer_norm(test.ctx, r.data(), add.data(), weight.data(), bias.data(), kEps, y.view);
        };
        std::vector<float> expected_r = residual;
        TestActivation expected(numerics, rows, cols, 0.02f, 3);
        run(Isa::reference, 1, expected_r, expected);
        EXPECT_TRUE(expected.gaps_untouched());
        for (int threads : {1, 2, 5}) {
          std::vector<float> r = residual;
          TestActivation y(numerics, rows, cols, 0.02f, 3);
          run(GetParam(), threads, r, y);
          ASSERT_TRUE(same_bits(r, expected_r));
          ASSERT_TRUE(y.same_bits_as(expected));
        }
      }
    }
  }
}

}  // namespace
}  // namespace krait
