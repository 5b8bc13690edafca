#include "kernels/routing/routing.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>

#include "kernels/test_support.h"

namespace krait {
namespace {

class TopExperts : public ForEachIsa {};
INSTANTIATE_TEST_SUITE_P(Isas, TopExperts, supported_isas(), isa_name);

/// Of expert e for token t; 0 if it does not take it.
float weight_of(const Routing& routing, int e, std::int64_t t) {
  const auto expert = static_cast<std::size_t>(e);
  for (std::size_t i = routing.begin[expert]; i < routing.begin[expert + 1]; ++i) {
    if (routing.tokens[i] == t) return routing.weights[i];
  }
  return 0;
}

TEST_P(TopExperts, TakesTheLikeliestOfASoftmaxOverAll) {
  TestContext test(GetParam()), reference(Isa::reference);
  Rng rng(1);
  for (const auto& [experts, k] : {std::pair{1, 1}, {4, 2}, {16, 2}, {37, 5}, {8, 8}}) {
    const std::int64_t T = 20;
    const std::vector<float> logits = random_floats(rng, T * experts, 3.0);
    std::vector<float> x = logits, same = logits;
    const Routing got = top_experts(test.ctx, f32_activation(x.data(), T, experts), k);
    const Routing expected = top_experts(reference.ctx, f32_activation(same.data(), T, experts), k);
    EXPECT_EQ(got.tokens, expected.tokens);
    EXPECT_EQ(got.begin, expected.begin);
    EXPECT_TRUE(same_bits(got.weights, expected.weights));
    ASSERT_EQ(std::ssize(got.tokens), T * k);
    for (std::size_t e = 0; e + 1 < got.begin.size(); ++e) {
      const auto tokens =
          std::span(got.tokens).subspan(got.begin[e], got.begin[e + 1] - got.begin[e]);
      EXPECT_TRUE(std::ranges::is_sorted(tokens));
    }
    for (std::int64_t t = 0; t < T; ++t) {
      const float* row = logits.data() + t * experts;
      double sum = 0;
      for (int e = 0; e < experts; ++e) sum += std::exp(static_cast<double>(row[e]));
      std::vector<std::int32_t> order(static_cast<std::size_t>(experts));
      std::iota(order.begin(), order.end(), 0);
      std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return row[a] > row[b]; });
      for (int e = 0; e < experts; ++e) {
        const auto rank = std::ranges::find(order, e) - order.begin();
        const float weight = weight_of(got, e, t);
        if (rank >= k) {
          EXPECT_EQ(weight, 0);
        } else {
          EXPECT_NEAR(weight, std::exp(static_cast<double>(row[e])) / sum, 1e-6);
        }
      }
    }
  }
}

TEST_P(TopExperts, TheFirstOfEqualsWins) {
  TestContext test(GetParam());
  std::vector<float> logits = {1, 2, 2, 2, 0};
  const Routing two = top_experts(test.ctx, f32_activation(logits.data(), 1, 5), 2);
  EXPECT_EQ(two.begin, (std::vector<std::size_t>{0, 0, 1, 2, 2, 2}));
}

}  // namespace
}  // namespace krait
