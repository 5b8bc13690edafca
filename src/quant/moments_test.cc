#include "quant/moments.h"

#include <gtest/gtest.h>

#include "models/test_support.h"

namespace krait {
namespace {

std::vector<float> values(std::uint64_t seed, std::int64_t n) {
  Rng rng(seed);
  std::vector<float> result(static_cast<std::size_t>(n));
  for (float& x : result) x = static_cast<float>(rng.uniform() - 0.4);
  return result;
}

TEST(Moments, AreSumsOfOuterProducts) {
  const std::int64_t n = 35, m = 18;
  std::vector<double> first_own, first_cross;
  for (const int threads : {1, 3}) {
    TestRuntime runtime(Isa::reference, threads);
    Moments moments{.cols = n, .own = {}, .cross = {}};
    std::vector<double> own(static_cast<std::size_t>(n * n)),
        cross(static_cast<std::size_t>(m * n));
    for (const std::int64_t tokens : {1, 50, 7}) {
      const std::vector<float> x = values(1, tokens * n), y = values(2, tokens * m);
      moments.add(runtime.ctx, x);
      moments.add_cross(runtime.ctx, y, x);
      for (std::int64_t t = 0; t < tokens; ++t) {
        const float *of_x = x.data() + t * n, *of_y = y.data() + t * m;
        for (std::int64_t j = 0; j < n; ++j) {
          const double right = of_x[j];
          for (std::int64_t i = 0; i < n; ++i)
            own[static_cast<std::size_t>(i * n + j)] += of_x[i] * right;
          for (std::int64_t i = 0; i < m; ++i)
            cross[static_cast<std::size_t>(i * n + j)] += of_y[i] * right;
        }
      }
    }
    EXPECT_EQ(moments.tokens, 58);
    ASSERT_EQ(moments.own.size(), own.size());
    ASSERT_EQ(moments.cross.size(), cross.size());
    for (std::size_t i = 0; i < own.size(); ++i) EXPECT_NEAR(moments.own[i], own[i], 1e-5);
    for (std::size_t i = 0; i < cross.size(); ++i) EXPECT_NEAR(moments.cross[i], cross[i], 1e-5);
    if (first_own.empty()) {
      first_own = moments.own;
      first_cross = moments.cross;
    }
    EXPECT_EQ(moments.own, first_own);
    EXPECT_EQ(moments.cross, first_cross);
  }
}

TEST(Widened, PutsIntegersScalesAndOutliersTogether) {
  std::int8_t q[] = {1, -2, 3, 0, 4, -5, 6, 99};  // two rows of three, a gap behind each
  float by_token[] = {0.5f, 2}, by_channel[] = {1, 10, 100}, one[] = {3};
  Outlier outliers[] = {{1, 77}, {}, {}, {0, -9}, {2, 8}, {}};
  std::int32_t count[] = {1, 2};
  Activation x{.data = q, .dtype = DType::i8, .rows = 2, .cols = 3, .stride = 4};
  x.strategy = Strategy::token;
  x.scale = by_token;
  EXPECT_EQ(widened(x), (std::vector<float>{0.5f, -1, 1.5f, 8, -10, 12}));
  x.outliers = outliers;
  x.outlier_count = count;
  EXPECT_EQ(widened(x), (std::vector<float>{0.5f, 77, 1.5f, -9, -10, 8}));
  x.outliers = nullptr;
  x.strategy = Strategy::channel;
  x.scale = by_channel;
  EXPECT_EQ(widened(x), (std::vector<float>{1, -20, 300, 4, -50, 600}));
  x.strategy = Strategy::tensor;
  x.scale = one;
  EXPECT_EQ(widened(x), (std::vector<float>{3, -6, 9, 12, -15, 18}));
  float f[] = {1, 2, 0, 3, 4, 0};
  EXPECT_EQ(widened(f32_activation(f, 2, 2, 3)), (std::vector<float>{1, 2, 3, 4}));
}

}  // namespace
}  // namespace krait
