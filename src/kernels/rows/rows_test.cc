#include "kernels/rows/rows.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kernels/test_support.h"

namespace krait {
namespace {

class Rows : public ForEachIsa {};
INSTANTIATE_TEST_SUITE_P(Isas, Rows, supported_isas(), isa_name);

TEST_P(Rows, AreAddedScaledAndCleared) {
  Rng rng(1);
  const std::int64_t T = 700, cols = 37;
  const std::vector<float> x = random_floats(rng, T * cols, 2.0),
                           add = random_floats(rng, T * cols, 2.0);
  for (const int threads : {1, 3}) {
    TestContext test(GetParam(), threads);
    std::vector<float> sum = x, product = x, zero = x;
    add_rows(test.ctx, sum.data(), add.data(), T, cols);
    scale_rows(test.ctx, product.data(), 0.37f, T, cols);
    clear_rows(test.ctx, zero.data(), T - 1, cols);
    for (std::size_t i = 0; i < x.size(); ++i) {
      ASSERT_EQ(sum[i], x[i] + add[i]);
      ASSERT_EQ(product[i], x[i] * 0.37f);
      ASSERT_EQ(zero[i], i < static_cast<std::size_t>((T - 1) * cols) ? 0.0f : x[i]);
    }
  }
}

TEST_P(Rows, ColumnsAreCopied) {
  TestContext test(GetParam());
  TestActivation x(kAllNumerics[0], 5, 20, 1.0f), y(kAllNumerics[0], 5, 7, 1.0f, 4);
  Rng rng(2);
  for (float& v : x.f32) v = static_cast<float>(rng.uniform());
  copy_rows(test.ctx, x.view.columns(3, 10), y.view);
  for (std::int64_t t = 0; t < 5; ++t) {
    for (std::int64_t c = 0; c < 7; ++c) EXPECT_EQ(y.view.f32(t)[c], x.view.f32(t)[3 + c]);
  }
  EXPECT_TRUE(y.gaps_untouched());
}

TEST_P(Rows, GathersRowsWithTheirScales) {
  TestContext test(GetParam());
  Rng rng(2);
  for (const Numerics& numerics : {kAllNumerics[0], kAllNumerics[1], kAllNumerics[3]}) {
    TestActivation x(numerics, 6, 9, 0.5f, 2), y(numerics, 3, 9, 0.5f);
    for (float& v : x.f32) v = static_cast<float>(rng.uniform());
    for (auto& v : x.i8) v = static_cast<std::int8_t>(rng.next());
    for (std::size_t t = 0; t < 6; ++t) x.scale[t] = static_cast<float>(t + 1);
    const std::int32_t tokens[] = {5, 0, 3};
    gather_rows(test.ctx, x.view, tokens, y.view);
    for (std::int64_t i = 0; i < 3; ++i) {
      for (std::int64_t c = 0; c < 9; ++c) {
        if (numerics.dtype == DType::f32) {
          EXPECT_EQ(y.view.f32(i)[c], x.view.f32(tokens[i])[c]);
        } else {
          EXPECT_EQ(y.view.i8(i)[c], x.view.i8(tokens[i])[c]);
        }
      }
      if (numerics.strategy == Strategy::token) {
        EXPECT_EQ(y.scale[static_cast<std::size_t>(i)], static_cast<float>(tokens[i] + 1));
      }
    }
  }
}

TEST_P(Rows, ScattersRowsWithTheirWeights) {
  Rng rng(3);
  const std::int64_t T = 400, cols = 45, count = 200;
  const std::vector<float> y = random_floats(rng, count * cols, 1.0);
  const std::vector<float> weights = random_floats(rng, count, 1.0);
  const std::vector<float> before = random_floats(rng, T * cols, 1.0);
  std::vector<std::int32_t> tokens;
  for (int i = 0; i < count; ++i) tokens.push_back((i * 7) % 400);
  std::vector<float> expected = before;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    for (std::size_t c = 0; c < 45; ++c) {
      float& sum = expected[static_cast<std::size_t>(tokens[i]) * 45 + c];
      sum = std::fma(weights[i], y[i * 45 + c], sum);
    }
  }
  for (int threads : {1, 3}) {
    TestContext test(GetParam(), threads);
    std::vector<float> out = before, values = y;
    scatter_add(test.ctx, f32_activation(values.data(), count, cols), tokens, weights, out.data());
    EXPECT_TRUE(same_bits(out, expected));
  }
}

}  // namespace
}  // namespace krait
