#include "quant/steps.h"

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

TEST(ChooseSteps, AbsmaxIsWhatRoundToNearestTakes) {
  const std::int64_t rows = 12, cols = 64;
  const std::vector<float> w = bell(1, rows * cols);
  const Tensor tensor = test_tensor({rows, cols}, w, DType::f32);
  ThreadPool pool(2);
  const auto expect_equal = [&](const IntegerFormat& format, Strategy strategy,
                                const QuantizedTensor& expected) {
    const RoundedMatrix m = round_nearest(pool, w, rows, cols, {}, format, StepChoice::absmax);
    const QuantizedTensor made = pack_rounded(m, rows, cols, format, strategy);
    const auto bytes = [](const Tensor& t) {
      const std::span<const std::byte> all(static_cast<const std::byte*>(t.view().data), t.bytes());
      return std::vector<std::byte>(all.begin(), all.end());
    };
    EXPECT_EQ(made.q.shape(), expected.q.shape());
    EXPECT_EQ(bytes(made.q), bytes(expected.q));
    EXPECT_EQ(made.scale.shape(), expected.scale.shape());
    EXPECT_EQ(bytes(made.scale), bytes(expected.scale));
  };
  expect_equal(format_4bit(16), Strategy::group, quantize_rtn_4bit(pool, tensor.view(), 16, "w"));
  for (const Strategy strategy : {Strategy::tensor, Strategy::channel}) {
    expect_equal(format_8bit(strategy, {}, rows, cols), strategy,
                 quantize_rtn(pool, tensor.view(), strategy, "w"));
  }
  const std::vector<std::int64_t> parts = {3, 0, 9};
  expect_equal(format_8bit(Strategy::channel, parts, rows, cols), Strategy::channel,
               quantize_rtn_parts(pool, tensor.view(), parts, "w"));
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
