#include "quant/choose_widths.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/rng.h"

namespace krait {
namespace {

using Products = std::vector<std::vector<Width>>;

std::int64_t bytes_of(const Products& products, const std::vector<std::size_t>& chosen) {
  std::int64_t bytes = 0;
  for (std::size_t i = 0; i < products.size(); ++i) bytes += products[i][chosen[i]].bytes;
  return bytes;
}
double loss_of(const Products& products, const std::vector<std::size_t>& chosen) {
  double loss = 0;
  for (std::size_t i = 0; i < products.size(); ++i) loss += products[i][chosen[i]].loss;
  return loss;
}

/// The least loss of all choices that fit; infinity if none does.
double exhaustive(const Products& products, std::int64_t budget, std::size_t i = 0) {
  if (i == products.size()) return 0;
  double best = std::numeric_limits<double>::infinity();
  for (const Width& width : products[i]) {
    if (width.bytes > budget) continue;
    best = std::min(best, width.loss + exhaustive(products, budget - width.bytes, i + 1));
  }
  return best;
}

TEST(ChooseWidths, IsTheBestOfAllChoices) {
  Rng rng(7);
  for (int round = 0; round < 200; ++round) {
    Products products(6);
    std::int64_t most = 0;
    for (std::vector<Width>& widths : products) {
      for (int w = 0; w < 3; ++w) {
        widths.push_back({static_cast<std::int64_t>(rng.below(100) + 1),
                          static_cast<double>(rng.below(1000)) / 1000});
      }
      most += 100;
    }
    const auto budget = static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(most)));
    const double best = exhaustive(products, budget);
    const std::vector<std::size_t> chosen = choose_widths(products, budget);
    ASSERT_EQ(chosen.empty(), std::isinf(best)) << "round " << round;
    if (chosen.empty()) continue;
    EXPECT_LE(bytes_of(products, chosen), budget) << "round " << round;
    EXPECT_DOUBLE_EQ(loss_of(products, chosen), best) << "round " << round;
  }
}

TEST(ChooseWidths, StaysWithinLargeBudgets) {
  // Sizes that are no multiples of a step: the choice must fit to the byte.
  const Products products(3, {{1'000'000'007, 1}, {2'000'000'011, 0.25}, {4'000'000'019, 0}});
  const std::int64_t budget = std::int64_t{5'000'200'029};  // two of the second and one first
  const std::vector<std::size_t> chosen = choose_widths(products, budget);
  ASSERT_EQ(chosen.size(), 3u);
  EXPECT_LE(bytes_of(products, chosen), budget);
  EXPECT_DOUBLE_EQ(loss_of(products, chosen), 1.5);
}

TEST(ChooseWidths, NothingFits) {
  EXPECT_TRUE(choose_widths(Products(2, {{10, 0.0}}), 19).empty());
  EXPECT_EQ(choose_widths(Products(2, {{10, 0.0}}), 20), (std::vector<std::size_t>{0, 0}));
}

}  // namespace
}  // namespace krait
