#include "quant/steps.h"
#include "quant/nearest.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/float16.h"
#include "core/rng.h"
#include "models/test_support.h"
#include "quant/gptq.h"

namespace krait {
namespace {

/// A sum of uniform values: a bell with tails, where clipping pays.
std::vector<float> bell(std::uint64_t seed, std::int64_t n) {
  Rng rng(seed);
  std::vector<float> values(static_cast<std::size_t>(n));
  for (float& x : values) {
    const double a = rng.uniform() - rng.uniform(), b = rng.uniform() - rng.uniform();
    x = static_cast<float>(a * b * b);
  }
  return values;
}

double squared_error(const std::vector<float>& w, const RoundedMatrix& m, std::int64_t cols,
                     std::int64_t group, const std::vector<double>& weights) {
  double sum = 0;
  for (std::size_t i = 0; i < w.size(); ++i) {
    const auto n = static_cast<std::size_t>(cols), g = static_cast<std::size_t>(group);
    const double e = static_cast<double>(w[i]) -
                     static_cast<double>(m.steps[i / n * (n / g) + i % n / g]) * m.q[i];
    sum += weights[i % n] * e * e;
  }
  return sum;
}

/// Of max |w|, or of the range, over each run of rows and group of columns.
TEST(ChooseSteps, AbsmaxIsFromTheLargestOfWhatSharesAStep) {
  const std::int64_t rows = 12, cols = 64;
  const std::vector<float> w = bell(1, rows * cols);
  ThreadPool pool(2);
  const auto expect_equal = [&](const IntegerFormat& format,
                                const std::vector<std::int64_t>& runs) {
    const std::vector<float> steps =
        choose_steps(pool, w, rows, cols, format, StepChoice::absmax, {});
    const std::int64_t groups = cols / format.group;
    std::int64_t first = 0;
    for (const std::int64_t count : runs) {
      for (std::int64_t g = 0; g < groups; ++g) {
        double high = 0, low = 0;
        for (std::int64_t r = first; r < first + count; ++r) {
          for (std::int64_t c = g * format.group; c < (g + 1) * format.group; ++c) {
            high = std::max<double>(high, w[static_cast<std::size_t>(r * cols + c)]);
            low = std::min<double>(low, w[static_cast<std::size_t>(r * cols + c)]);
          }
        }
        const float expected =
            format.bits == 4
                ? bf16_to_f32(f32_to_bf16(static_cast<float>(std::max(high / 7.5, -low / 8.5))))
                : static_cast<float>(std::max(high, -low) / 127);
        for (std::int64_t r = first; r < first + count; ++r) {
          EXPECT_EQ(steps[static_cast<std::size_t>(r * groups + g)], expected);
        }
      }
      first += count;
    }
  };
  const std::vector<std::int64_t> each(static_cast<std::size_t>(rows), 1), parts = {3, 0, 9};
  expect_equal(format_4bit(16), each);
  expect_equal(format_8bit(Strategy::channel, {}, rows, cols), each);
  expect_equal(format_8bit(Strategy::tensor, {}, rows, cols), {rows});
  expect_equal(format_8bit(Strategy::channel, parts, rows, cols), parts);
}

TEST(ChooseSteps, SearchesFindLessErrorOfTheirKind) {
  const std::int64_t rows = 10, cols = 128;
  const std::vector<float> w = bell(2, rows * cols);
  std::vector<double> plain(static_cast<std::size_t>(cols), 1.0), weights = plain;
  for (std::size_t i = 0; i < weights.size(); i += 3) weights[i] = 100;
  for (const IntegerFormat& format :
       {format_4bit(32), format_8bit(Strategy::channel, {}, rows, cols),
        format_8bit(Strategy::tensor, {}, rows, cols)}) {
    std::vector<RoundedMatrix> made;
    for (const int threads : {1, 4}) {
      ThreadPool pool(threads);
      for (const StepChoice choice :
           {StepChoice::absmax, StepChoice::mse, StepChoice::weighted_mse}) {
        made.push_back(round_nearest(pool, w, rows, cols, weights, format, choice));
      }
    }
    for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(made[i].steps, made[i + 3].steps);
    const auto error = [&](std::size_t i, const std::vector<double>& by) {
      return squared_error(w, made[i], cols, format.group, by);
    };
    EXPECT_LE(error(1, plain), error(0, plain));
    EXPECT_LT(error(1, plain), error(2, plain) * 1.0001);
    EXPECT_LE(error(2, weights), error(1, weights));
    if (format.has_bf16_steps) {
      EXPECT_LT(error(1, plain), 0.995 * error(0, plain));
      EXPECT_LT(error(2, weights), 0.995 * error(1, weights));
      for (const float step : made[1].steps) EXPECT_EQ(step, bf16_to_f32(f32_to_bf16(step)));
    }
  }
}

TEST(ChooseSteps, KeepsRowsOfZeros) {
  ThreadPool pool(1);
  const std::vector<float> w(32);
  for (const StepChoice choice : {StepChoice::absmax, StepChoice::mse}) {
    const RoundedMatrix m = round_nearest(pool, w, 2, 16, {}, format_4bit(8), choice);
    EXPECT_EQ(m.steps, std::vector<float>(4, 1.0f));
    EXPECT_EQ(m.q, std::vector<std::int8_t>(32, 0));
  }
}

}  // namespace
}  // namespace krait
