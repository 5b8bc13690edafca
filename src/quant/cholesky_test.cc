#include "quant/cholesky.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "core/rng.h"

namespace krait {
namespace {

/// x x^T over random vectors, and a little more on the diagonal.
std::vector<double> positive_definite(std::int64_t n, std::uint64_t seed) {
  Rng rng(seed);
  std::vector<double> a(static_cast<std::size_t>(n * n)), x(static_cast<std::size_t>(n));
  for (std::int64_t k = 0; k < n + 3; ++k) {
    for (double& v : x) v = rng.uniform() * 2 - 0.7;
    for (std::size_t i = 0; i < a.size(); ++i) {
      a[i] += x[i / x.size()] * x[i % x.size()];
    }
  }
  for (std::size_t i = 0; i < x.size(); ++i) a[i * x.size() + i] += 0.1;
  return a;
}

TEST(FactorUpper, GivesBackTheMatrix) {
  for (const std::int64_t n : {1, 2, 5, 64, 65, 130, 200}) {
    const std::vector<double> a = positive_definite(n, 3);
    std::vector<double> first;
    for (const int threads : {1, 2, 5}) {
      ThreadPool pool(threads);
      std::vector<double> V = a;
      ASSERT_TRUE(factor_upper(pool, V, n));
      if (first.empty()) first = V;
      EXPECT_EQ(V, first) << n << ", " << threads << " threads";
    }
    const auto v = [&](std::int64_t i, std::int64_t j) {
      return first[static_cast<std::size_t>(i * n + j)];
    };
    for (std::int64_t i = 0; i < n; ++i) {
      EXPECT_GT(v(i, i), 0);
      for (std::int64_t j = 0; j < n; ++j) {
        if (j < i) {
          EXPECT_EQ(v(i, j), 0);
        }
        double sum = 0;
        for (std::int64_t k = 0; k < n; ++k) sum += v(i, k) * v(j, k);
        EXPECT_NEAR(sum, a[static_cast<std::size_t>(i * n + j)], 1e-10 * static_cast<double>(n));
      }
    }
  }
}

TEST(FactorUpper, RefusesWhatIsNotPositiveDefinite) {
  ThreadPool pool(1);
  std::vector<double> singular = {1, 1, 1, 1}, negative = {-1}, undefined = {std::nan("")};
  EXPECT_FALSE(factor_upper(pool, singular, 2));
  EXPECT_FALSE(factor_upper(pool, negative, 1));
  EXPECT_FALSE(factor_upper(pool, undefined, 1));
}

TEST(SolveUpper, MultipliesWithTheInverse) {
  const std::int64_t n = 70;
  const std::vector<double> a = positive_definite(n, 5);
  ThreadPool pool(2);
  std::vector<double> V = a;
  ASSERT_TRUE(factor_upper(pool, V, n));
  std::vector<double> x(static_cast<std::size_t>(n)), product(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<double>(i % 7) - 3;
  for (std::size_t i = 0; i < a.size(); ++i) product[i % x.size()] += x[i / x.size()] * a[i];
  solve_upper(V, product);
  for (std::size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(product[i], x[i], 1e-9);
}

}  // namespace
}  // namespace krait
