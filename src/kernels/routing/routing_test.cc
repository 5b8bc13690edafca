#include "kernels/routing/routing.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/test_support.h"

namespace krait {
namespace {

class Routing : public ForEachIsa {};
INSTANTIATE_TEST_SUITE_P(Isas, Routing, supported_isas(), isa_name);

TEST_P(Routing, TakesTheLikeliestOfASoftmaxOverAll) {
  TestContext test(GetParam()), reference(Isa::reference);
  Rng rng(1);
  for (const auto& [experts, k] : {std::pair{1, 1}, {4, 2}, {16, 2}, {37, 5}, {8, 8}}) {
    const std::int64_t T = 20;
    const std::vector<float> logits = random_floats(rng, T * experts, 3.0);
    std::vector<float> x = logits, same = logits;
    std::vector<std::int32_t> chosen(static_cast<std::size_t>(T * k)), chosen2(chosen.size());
    std::vector<float> weights(chosen.size()), weights2(chosen.size());
    top_experts(test.ctx, f32_activation(x.data(), T, experts), k, chosen.data(), weights.data());
    top_experts(reference.ctx, f32_activation(same.data(), T, experts), k, chosen2.data(),
                weights2.data());
    EXPECT_EQ(chosen, chosen2);
    EXPECT_TRUE(same_bits(weights, weights2));
    for (std::int64_t t = 0; t < T; ++t) {
      const float* row = logits.data() + t * experts;
      double sum = 0;
      for (int e = 0; e < experts; ++e) sum += std::exp(static_cast<double>(row[e]));
      std::vector<std::int32_t> order(static_cast<std::size_t>(experts));
      std::iota(order.begin(), order.end(), 0);
      std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return row[a] > row[b]; });
      for (std::int64_t i = 0; i < k; ++i) {
        const auto at = static_cast<std::size_t>(t * k + i);
        EXPECT_EQ(chosen[at], order[static_cast<std::size_t>(i)]);
        EXPECT_NEAR(weights[at], std::exp(static_cast<double>(row[chosen[at]])) / sum, 1e-6);
      }
    }
  }
}

TEST_P(Routing, TheFirstOfEqualsWins) {
  TestContext test(GetParam());
  std::vector<float> logits = {1, 2, 2, 2, 0}, weights(3);
  std::vector<std::int32_t> chosen(3);
  top_experts(test.ctx, f32_activation(logits.data(), 1, 5), 3, chosen.data(), weights.data());
  EXPECT_EQ(chosen, (std::vector<std::int32_t>{1, 2, 3}));
}

TEST_P(Routing, GathersRowsWithTheirScales) {
  Rng rng(2);
  for (const Numerics& numerics : {kAllNumerics[0], kAllNumerics[1], kAllNumerics[3]}) {
    TestActivation x(numerics, 6, 9, 0.5f, 2), y(numerics, 3, 9, 0.5f);
    for (float& v : x.f32) v = static_cast<float>(rng.uniform());
    for (auto& v : x.i8) v = static_cast<std::int8_t>(rng.next());
    for (std::size_t t = 0; t < 6; ++t) x.scale[t] = static_cast<float>(t + 1);
    const std::int32_t tokens[] = {5, 0, 3};
    gather_rows(x.view, tokens, y.view);
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

TEST_P(Routing, AddsRowsWithTheirWeights) {
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
    add_weighted_rows(test.ctx, f32_activation(values.data(), count, cols), tokens.data(),
                      weights.data(), out.data());
    EXPECT_TRUE(same_bits(out, expected));
  }
}

}  // namespace
}  // namespace krait
