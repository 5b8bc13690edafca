// Rows split by outliers (LLM.int8): how they are stored, read, gathered and multiplied.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/linear/linear.h"
#include "kernels/quantize/quantize.h"
#include "kernels/rows/rows.h"
#include "kernels/test_support.h"

namespace krait {
namespace {

constexpr float kThreshold = 2.5f;

/// Room for split rows.
struct Split {
  Split(std::int64_t rows, std::int64_t cols)
      : q(static_cast<std::size_t>(rows * cols)),
        scale(static_cast<std::size_t>(rows)),
        outliers(static_cast<std::size_t>(rows * cols)),
        count(static_cast<std::size_t>(rows), -1) {
    view = {.data = q.data(),
            .dtype = DType::i8,
            .rows = rows,
            .cols = cols,
            .stride = cols,
            .strategy = Strategy::token,
            .dynamic = true,
            .scale = scale.data(),
            .outlier_threshold = kThreshold,
            .outliers = outliers.data(),
            .outlier_count = count.data()};
  }
  Split(const Split&) = delete;
  Split& operator=(const Split&) = delete;

  std::vector<std::int8_t> q;
  std::vector<float> scale;
  std::vector<Outlier> outliers;
  std::vector<std::int32_t> count;
  Activation view;
};

/// Uniform values up to 4; row 0 without an outlier, row 1 of nothing else.
std::vector<float> values_with_outliers(Rng& rng, std::int64_t rows, std::int64_t cols) {
  std::vector<float> x = random_floats(rng, rows * cols, 4.0);
  for (std::int64_t c = 0; c < cols; ++c) {
    float& first = x[static_cast<std::size_t>(c)];
    first = std::fmod(first, kThreshold);
    if (rows > 1) x[static_cast<std::size_t>(cols + c)] = c % 2 ? 3.0f : -70.0f;
  }
  return x;
}

class Outliers : public ForEachIsa {};
INSTANTIATE_TEST_SUITE_P(Isas, Outliers, supported_isas(), isa_name);

TEST_P(Outliers, AreLeftOutOfTheRowAndOfItsScale) {
  Rng rng(1);
  for (const std::int64_t cols : {1, 7, 16, 33, 300}) {
    const std::int64_t rows = 9;
    std::vector<float> x = values_with_outliers(rng, rows, cols);
    for (int threads : {1, 3}) {
      TestContext test(GetParam(), threads);
      Split y(rows, cols);
      quantize(test.ctx, f32_activation(x.data(), rows, cols), y.view);
      EXPECT_EQ(y.count[0], 0);
      EXPECT_EQ(y.count[1], cols);
      EXPECT_EQ(y.scale[1], 1.0f);
      for (std::int64_t t = 0; t < rows; ++t) {
        float most = 0.0f;
        std::int32_t found = 0;
        for (std::int64_t c = 0; c < cols; ++c) {
          const float value = x[static_cast<std::size_t>(t * cols + c)];
          if (std::fabs(value) > kThreshold) {
            const Outlier& listed = y.outliers[static_cast<std::size_t>(t * cols + found++)];
            ASSERT_EQ(listed.column, c);
            ASSERT_EQ(listed.value, value);
            ASSERT_EQ(y.view.i8(t)[c], 0);
          } else {
            most = std::max(most, std::fabs(value));
          }
        }
        ASSERT_EQ(y.count[static_cast<std::size_t>(t)], found);
        const float scale = most < 1e-30f ? 1.0f : most / 127.0f;
        ASSERT_EQ(y.scale[static_cast<std::size_t>(t)], scale);
        std::vector<float> back(static_cast<std::size_t>(cols));
        load_row(*test.ctx.kernels.quantize, y.view, t, 0, cols, back.data());
        for (std::int64_t c = 0; c < cols; ++c) {
          const float value = x[static_cast<std::size_t>(t * cols + c)];
          const float kept = scale * std::nearbyint(value / scale);
          ASSERT_EQ(back[static_cast<std::size_t>(c)],
                    std::fabs(value) > kThreshold ? value : kept);
        }
      }
    }
  }
}

TEST_P(Outliers, InfinityAndNaNAreSome) {
  TestContext test(GetParam(), 1);
  constexpr float inf = std::numeric_limits<float>::infinity();
  std::vector<float> x = {1.0f, std::nanf(""), -inf, 0.5f, kThreshold};
  Split y(1, 5);
  quantize(test.ctx, f32_activation(x.data(), 1, 5), y.view);
  ASSERT_EQ(y.count[0], 2);  // the threshold itself is no outlier
  EXPECT_EQ(y.outliers[0].column, 1);
  EXPECT_TRUE(std::isnan(y.outliers[0].value));
  EXPECT_EQ(y.outliers[1].column, 2);
  EXPECT_EQ(y.outliers[1].value, -inf);
  EXPECT_EQ(y.scale[0], kThreshold / 127.0f);
  EXPECT_EQ(y.q[1], 0);
  EXPECT_EQ(y.q[4], 127);
}

TEST_P(Outliers, GatheredRowsKeepTheirs) {
  TestContext test(GetParam(), 2);
  Rng rng(2);
  std::vector<float> x = values_with_outliers(rng, 4, 20);
  Split all(4, 20), some(3, 20);
  quantize(test.ctx, f32_activation(x.data(), 4, 20), all.view);
  const std::int32_t tokens[] = {3, 1, 1};
  gather_rows(test.ctx, all.view, tokens, some.view);
  for (std::int64_t i = 0; i < 3; ++i) {
    std::vector<float> expected(20), got(20);
    load_row(*test.ctx.kernels.quantize, all.view, tokens[i], 0, 20, expected.data());
    load_row(*test.ctx.kernels.quantize, some.view, i, 0, 20, got.data());
    EXPECT_EQ(got, expected);
  }
  const Activation last = all.view.row_range(3, 4);
  EXPECT_EQ(last.outlier_count[0], all.count[3]);
  EXPECT_EQ(last.outliers, all.outliers.data() + 60);
}

Weight int8_weight(Rng& rng, std::int64_t rows, std::int64_t cols, Strategy strategy, bool bias) {
  Weight weight;
  weight.strategy = strategy;
  weight.data = Tensor(DType::i8, {rows, cols});
  for (std::int8_t& q : weight.data.mutable_as<std::int8_t>()) {
    q = static_cast<std::int8_t>(static_cast<int>(rng.below(255)) - 127);
  }
  weight.scale = Tensor(DType::f32, {strategy == Strategy::channel ? rows : 1});
  for (float& s : weight.scale.mutable_as<float>()) {
    s = 0.001f + 0.01f * static_cast<float>(rng.uniform());
  }
  if (bias) {
    weight.bias = Tensor(DType::f32, {rows});
    for (float& b : weight.bias.mutable_as<float>()) b = static_cast<float>(rng.uniform());
  }
  TestContext test(Isa::reference, 1);
  pack(test.ctx, weight);
  return weight;
}

// The specification of linear.h, element by element; all threads; rows alone and together.
TEST_P(Outliers, AreMultipliedInFloat) {
  Rng rng(3);
  for (const std::int64_t rows : {1, 15, 16, 41, 150}) {
    for (const std::int64_t cols : {1, 5, 64, 203}) {
      for (const std::int64_t tokens : {1, 2, 13, 40}) {
        const bool by_row = rng.below(2);
        const Weight weight = int8_weight(
            rng, rows, cols, by_row ? Strategy::channel : Strategy::tensor, rng.below(2));
        std::vector<float> values = values_with_outliers(rng, tokens, cols);
        Split x(tokens, cols);
        TestContext one(GetParam(), 1);
        quantize(one.ctx, f32_activation(values.data(), tokens, cols), x.view);

        std::vector<float> expected(static_cast<std::size_t>(tokens * rows));
        for (std::int64_t t = 0; t < tokens; ++t) {
          for (std::int64_t r = 0; r < rows; ++r) {
            const std::int8_t* w = weight.data.as<std::int8_t>().data() + r * cols;
            const float s = weight.scale.as<float>()[by_row ? static_cast<std::size_t>(r) : 0];
            std::int32_t sum = 0;
            for (std::int64_t k = 0; k < cols; ++k) sum += x.view.i8(t)[k] * w[k];
            float y = static_cast<float>(sum) * (x.scale[static_cast<std::size_t>(t)] * s);
            if (!weight.bias.empty()) y += weight.bias.as<float>()[static_cast<std::size_t>(r)];
            float o = 0.0f;
            for (std::int32_t i = 0; i < x.count[static_cast<std::size_t>(t)]; ++i) {
              const Outlier& outlier = x.outliers[static_cast<std::size_t>(t * cols + i)];
              o = std::fma(outlier.value, static_cast<float>(w[outlier.column]), o);
            }
            if (x.count[static_cast<std::size_t>(t)] > 0) y = std::fma(o, s, y);
            expected[static_cast<std::size_t>(t * rows + r)] = y;
          }
        }
        for (int threads : {1, 2, 5}) {
          TestContext test(GetParam(), threads);
          std::vector<float> y(expected.size() + 1, 77.0f);
          linear(test.ctx, weight, x.view, f32_activation(y.data(), tokens, rows));
          EXPECT_EQ(y.back(), 77.0f);
          y.pop_back();
          ASSERT_EQ(std::memcmp(y.data(), expected.data(), y.size() * sizeof(float)), 0)
              << rows << "x" << cols << ", " << tokens << " tokens, " << threads << " threads";
          std::vector<float> last(static_cast<std::size_t>(rows));
          linear(test.ctx, weight, x.view.row_range(tokens - 1, tokens),
                 f32_activation(last.data(), 1, rows));
          ASSERT_EQ(std::memcmp(last.data(), expected.data() + (tokens - 1) * rows,
                                last.size() * sizeof(float)),
                    0);

          std::vector<float> out_scale = {0.5f};
          std::vector<std::int8_t> q(expected.size());
          linear(test.ctx, weight, x.view,
                 {.data = q.data(),
                  .dtype = DType::i8,
                  .rows = tokens,
                  .cols = rows,
                  .stride = rows,
                  .scale = out_scale.data()});
          for (std::size_t i = 0; i < q.size(); ++i) {
            ASSERT_EQ(q[i], std::clamp(std::nearbyint(expected[i] / 0.5f), -128.0f, 127.0f));
          }
        }
      }
    }
  }
}

// A float matrix reads the values as they were.
TEST_P(Outliers, AreExactForFloatWeights) {
  TestContext test(GetParam(), 2);
  Rng rng(4);
  const std::int64_t rows = 17, cols = 40, tokens = 5;
  std::vector<float> values = values_with_outliers(rng, tokens, cols);
  Split x(tokens, cols);
  quantize(test.ctx, f32_activation(values.data(), tokens, cols), x.view);
  std::vector<float> wide(static_cast<std::size_t>(tokens * cols));
  dequantize(test.ctx, x.view, f32_activation(wide.data(), tokens, cols));
  Weight weight;
  weight.data = Tensor(DType::f32, {rows, cols});
  for (float& w : weight.data.mutable_as<float>()) w = static_cast<float>(rng.uniform()) - 0.5f;
  std::vector<float> expected(static_cast<std::size_t>(tokens * rows)), y(expected.size());
  linear(test.ctx, weight, f32_activation(wide.data(), tokens, cols),
         f32_activation(expected.data(), tokens, rows));
  linear(test.ctx, weight, x.view, f32_activation(y.data(), tokens, rows));
  EXPECT_EQ(y, expected);
}

}  // namespace
}  // namespace krait
