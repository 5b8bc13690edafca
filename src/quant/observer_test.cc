#include "quant/observer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/rng.h"
#include "io/test_support.h"

namespace krait {
namespace {

float scale_after(const ObserverArgs& args, const std::vector<std::vector<float>>& samples) {
  const auto observer = make_observer(args);
  for (const auto& sample : samples) observer->update(sample);
  return observer->scale("site");
}

std::vector<float> normal_values(std::uint64_t seed, int n) {
  Rng rng(seed);
  std::vector<float> values(static_cast<std::size_t>(n));
  for (float& x : values) {  // Box and Muller
    const double radius = std::sqrt(-2 * std::log(1 - rng.uniform()));
    x = static_cast<float>(radius * std::cos(6.283185307179586 * rng.uniform()));
  }
  return values;
}

/// Squared error of int8 with this scale, the way the engine rounds.
double squared_error(const std::vector<float>& values, float scale) {
  double sum = 0;
  for (float x : values) {
    const float q = std::clamp(std::nearbyint(x / scale), -128.0f, 127.0f);
    sum += (static_cast<double>(x) - q * static_cast<double>(scale)) *
           (static_cast<double>(x) - q * static_cast<double>(scale));
  }
  return sum;
}

TEST(AbsmaxObserver, TakesTheLargestMagnitudeOfAllSamples) {
  EXPECT_EQ(scale_after({"absmax"}, {{0.5f, -1.0f}, {2.54f, 0}, {-0.1f}}), 2.54f / 127);
  EXPECT_EQ(scale_after({"absmax"}, {{0.5f, -3.81f}}), static_cast<float>(3.81f / 127.0));
}

TEST(PercentileObserver, InterpolatesLikeNumpy) {
  // numpy.quantile([0, 1, 2, 3, 4], q) = 4 q; of [1, 3, 10]: rank 2 q.
  const std::vector<float> values = {-3, 1, 0, -4, 2};
  for (double percentile : {0.0, 12.5, 50.0, 60.0, 99.0, 100.0}) {
    const double expected = std::max(4 * percentile / 100, 1e-6);
    EXPECT_FLOAT_EQ(scale_after({"percentile", percentile, 0.01}, {values}),
                    static_cast<float>(expected / 127))
        << percentile;
  }
  EXPECT_FLOAT_EQ(scale_after({"percentile", 75, 0.01}, {{10, -1, 3}}), 6.5f / 127);
  EXPECT_FLOAT_EQ(scale_after({"percentile", 30, 0.01}, {{-7}}), 7.0f / 127);
}

TEST(PercentileObserver, AveragesSamplesAsThePaper) {
  double m = 5;
  for (double p : {9.0, 1.0, 4.0}) m += 0.01 * (p - m);
  EXPECT_FLOAT_EQ(scale_after({"percentile", 100, 0.01}, {{5, 0}, {-9, 1}, {1}, {4, -4}}),
                  static_cast<float>(m / 127));
}

TEST(MseObserver, IsNearTheBestClipOfASearch) {
  std::vector<float> values = normal_values(3, 20000);
  values[7] = 40;  // an outlier that absmax would follow
  const float scale = scale_after({"mse"}, {values});
  double best = std::numeric_limits<double>::infinity();
  for (int i = 1; i <= 400; ++i) {
    best = std::min(best, squared_error(values, 40.0f * static_cast<float>(i) / 400 / 127));
  }
  EXPECT_LE(squared_error(values, scale), 1.02 * best);
  EXPECT_LT(squared_error(values, scale), 0.95 * squared_error(values, 40.0f / 127));
}

TEST(MseObserver, KeepsEverythingWhereClippingDoesNotPay) {
  std::vector<float> uniform(5000);
  for (std::size_t i = 0; i < uniform.size(); ++i) uniform[i] = static_cast<float>(i) / 5000 - 0.5f;
  EXPECT_NEAR(scale_after({"mse"}, {uniform}), 0.5 / 127, 0.5 / 127 * 0.03);
}

TEST(MseObserver, SumsOverSamplesInAnyPieces) {
  const std::vector<float> values = normal_values(4, 3000);
  const std::vector<float> head(values.begin(), values.begin() + 1000);
  const std::vector<float> tail(values.begin() + 1000, values.end());
  EXPECT_FLOAT_EQ(scale_after({"mse"}, {values}), scale_after({"mse"}, {head, tail}));
}

TEST(Observer, AlwaysGivesAPositiveScale) {
  for (const char* name : {"absmax", "percentile", "mse"}) {
    EXPECT_EQ(scale_after({name, 50, 0.01}, {{0, 0, -0.0f}}), static_cast<float>(1e-6 / 127))
        << name;
    EXPECT_EQ(scale_after({name, 50, 0.01}, {{1e-41f}}), static_cast<float>(1e-6 / 127)) << name;
  }
}

TEST(Observer, NamesTheSiteThatSawNothingOrNoNumber) {
  for (const char* name : {"absmax", "percentile", "mse"}) {
    expect_error([&] { scale_after({name}, {}); }, ErrorCode::bad_data, {"no value", "site"});
    expect_error([&] { scale_after({name}, {{}}); }, ErrorCode::bad_data, {"no value", "site"});
    for (float bad :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
          -std::numeric_limits<float>::infinity()}) {
      expect_error(
          [&] {
            scale_after({name}, {{1, 2}, {3, bad}, {4}});
          },
          ErrorCode::bad_data, {"NaN or an infinite", "site"});
    }
  }
}

TEST(Observer, ListsTheKnownNames) {
  expect_error([] { make_observer({"persentile"}); }, ErrorCode::invalid_argument,
               {"\"persentile\"", "did you mean \"percentile\"", "absmax, mse, percentile"});
}

}  // namespace
}  // namespace krait
