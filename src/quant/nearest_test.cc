#include "quant/nearest.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/float16.h"
#include "core/rng.h"
#include "io/test_support.h"
#include "models/test_support.h"
#include "quant/convert.h"
#include "quant/rotate.h"

namespace krait {
namespace {

std::vector<float> random_values(std::uint64_t seed, std::int64_t n) {
  Rng rng(seed);
  std::vector<float> values(static_cast<std::size_t>(n));
  for (float& x : values) x = static_cast<float>(rng.uniform() * 2 - 1);
  return values;
}

/// Round half to even without the library's rounding: by hand from the floor.
int round_half_even(double x) {
  const double below = std::floor(x), rest = x - below;
  const auto n = static_cast<int>(below);
  if (rest != 0.5) return rest < 0.5 ? n : n + 1;
  return n % 2 == 0 ? n : n + 1;
}

QuantizedTensor quantize_8bit(ThreadPool& threads, const Tensor& w, Strategy strategy,
                              std::string_view name) {
  const std::int64_t rows = w.shape()[0];
  const IntegerFormat format = format_8bit(strategy, {}, rows, w.elements() / rows);
  return quantize_nearest(threads, w, format, StepChoice::absmax, name);
}

QuantizedTensor quantize_4bit(ThreadPool& threads, const Tensor& w, std::int64_t group,
                              std::string_view name) {
  return quantize_nearest(threads, w, format_4bit(group), StepChoice::absmax, name);
}

class QuantizeNearest : public testing::TestWithParam<DType> {};

TEST_P(QuantizeNearest, RoundsEveryRowByItsOwnScale) {
  const std::int64_t rows = 7, cols = 4099;  // more than one piece, an odd rest
  const Tensor w = test_tensor({rows, cols}, random_values(1, rows * cols), GetParam());
  const Tensor f = to_f32(w.view());
  for (int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    const QuantizedTensor channel = quantize_8bit(pool, w, Strategy::channel, "w");
    const QuantizedTensor tensor = quantize_8bit(pool, w, Strategy::tensor, "w");
    ASSERT_EQ(channel.scale.shape(), (Shape{rows, 1}));
    ASSERT_EQ(tensor.scale.shape(), (Shape{1}));
    float largest = 0;
    for (std::int64_t r = 0; r < rows; ++r) {
      float row_max = 0;
      for (std::int64_t c = 0; c < cols; ++c) {
        row_max =
            std::max(row_max, std::fabs(f.as<float>()[static_cast<std::size_t>(r * cols + c)]));
      }
      largest = std::max(largest, row_max);
      const float s = channel.scale.as<float>()[static_cast<std::size_t>(r)];
      EXPECT_EQ(s, static_cast<float>(row_max / 127.0));
      for (std::int64_t c = 0; c < cols; ++c) {
        const auto i = static_cast<std::size_t>(r * cols + c);
        ASSERT_EQ(channel.q.as<std::int8_t>()[i], round_half_even(f.as<float>()[i] / s)) << i;
      }
    }
    const float s = tensor.scale.as<float>()[0];
    EXPECT_EQ(s, static_cast<float>(largest / 127.0));
    for (std::size_t i = 0; i < static_cast<std::size_t>(rows * cols); ++i) {
      ASSERT_EQ(tensor.q.as<std::int8_t>()[i], round_half_even(f.as<float>()[i] / s)) << i;
    }
  }
}
INSTANTIATE_TEST_SUITE_P(FloatTypes, QuantizeNearest,
                         testing::Values(DType::f32, DType::f16, DType::bf16));

TEST(QuantizeNearest, TiesGoToEvenAndTheNegativeEndIsNeverUsed) {
  ThreadPool pool(1);
  // Scale 1: the largest magnitude is 127.
  const std::vector<float> values = {127, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f, -127};
  const QuantizedTensor q = quantize_8bit(pool, test_tensor({8}, values), Strategy::tensor, "w");
  const std::vector<int> expected = {127, 0, 2, 2, 0, -2, -2, -127};
  for (std::size_t i = 0; i < expected.size(); ++i)
    EXPECT_EQ(q.q.as<std::int8_t>()[i], expected[i]);
}

TEST(QuantizeNearest, ZeroRowsAndTinyRowsHaveAScale) {
  ThreadPool pool(2);
  const std::vector<float> values = {0, -0.0f, 1e-42f, -3e-45f, 1e-29f, 5e-30f};
  const QuantizedTensor q =
      quantize_8bit(pool, test_tensor({3, 2}, values), Strategy::channel, "w");
  EXPECT_EQ(q.scale.as<float>()[0], 1);
  EXPECT_EQ(q.scale.as<float>()[1], 1);
  EXPECT_GT(q.scale.as<float>()[2], 0);
  const std::vector<int> expected = {0, 0, 0, 0, 127, 64};
  for (std::size_t i = 0; i < expected.size(); ++i)
    EXPECT_EQ(q.q.as<std::int8_t>()[i], expected[i]);
}

TEST(QuantizeNearest, NamesTensorsThatAreNoNumbers) {
  ThreadPool pool(2);
  for (float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    for (DType dtype : {DType::f32, DType::f16, DType::bf16}) {
      const Tensor w = test_tensor({3, 2}, std::vector<float>{1, 2, 3, bad, 5, 6}, dtype);
      expect_error([&] { quantize_8bit(pool, w, Strategy::channel, "layer.w"); },
                   ErrorCode::bad_data, {"layer.w", "NaN or an infinite"});
      expect_error([&] { convert_float(pool, w, DType::bf16, "layer.w"); }, ErrorCode::bad_data,
                   {"layer.w", "NaN or an infinite"});
      expect_error([&] { rotate_rows(pool, w.view(), 2, "layer.w"); }, ErrorCode::bad_data,
                   {"layer.w", "NaN or an infinite"});
    }
  }
  expect_error([&] { quantize_8bit(pool, Tensor(DType::i32, {2}), Strategy::tensor, "ids"); },
               ErrorCode::bad_data, {"ids", "I32"});
}

int value_at(const QuantizedTensor& tensor, std::int64_t i) {
  const auto word =
      static_cast<std::uint32_t>(tensor.q.as<std::int32_t>()[static_cast<std::size_t>(i / 8)]);
  return static_cast<int>(word >> (4 * (i % 8)) & 15) - 8;
}

TEST(QuantizeNearest4, RoundsEveryGroupByItsOwnScale) {
  const std::int64_t rows = 5, cols = 192, group = 64;
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    const Tensor w = test_tensor({rows, cols}, random_values(4, rows * cols), dtype);
    const Tensor f = to_f32(w.view());
    for (const int threads : {1, 2, 5}) {
      ThreadPool pool(threads);
      const QuantizedTensor q = quantize_4bit(pool, w, group, "w");
      ASSERT_EQ(q.q.shape(), (Shape{rows, cols / 8}));
      ASSERT_EQ(q.scale.shape(), (Shape{rows, cols / group}));
      ASSERT_EQ(q.scale.dtype(), DType::bf16);
      const Tensor scale = to_f32(q.scale.view());
      for (std::int64_t g = 0; g < rows * cols / group; ++g) {
        double high = -1e9, low = 1e9;
        for (std::int64_t k = 0; k < group; ++k) {
          const double value = f.as<float>()[static_cast<std::size_t>(g * group + k)];
          high = std::max(high, value);
          low = std::min(low, value);
        }
        const float s = scale.as<float>()[static_cast<std::size_t>(g)];
        const double exact = std::max(high / 7.5, -low / 8.5);
        EXPECT_NEAR(s, exact, exact / 256);
        EXPECT_EQ(s, bf16_to_f32(f32_to_bf16(s)));
        for (std::int64_t k = 0; k < group; ++k) {
          const std::int64_t i = g * group + k;
          const float value = f.as<float>()[static_cast<std::size_t>(i)] / s;
          ASSERT_EQ(value_at(q, i), std::clamp(round_half_even(value), -8, 7)) << i;
          ASSERT_LT(std::fabs(value - static_cast<float>(value_at(q, i))), 0.54F);  // half a step
        }
      }
    }
  }
}

TEST(QuantizeNearest4, UsesTheWholeGridAndGivesZerosAScale) {
  ThreadPool pool(2);
  // Step 1: the lowest is -8.5, the highest 7.5. Ties go to even where they fit.
  const std::vector<float> values = {-8.5F, 7.5F, 0.5F,  1.5F,   -0.5F, -2.5F, 6.5F, -7.5F,
                                     0,     0,    -0.0F, 1e-42F, 0,     0,     0,    -1e-35F};
  const QuantizedTensor q = quantize_4bit(pool, test_tensor({2, 8}, values), 8, "w");
  const std::vector<int> expected = {-8, 7, 0, 2, 0, -2, 6, -8, 0, 0, 0, 0, 0, 0, 0, 0};
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(value_at(q, static_cast<std::int64_t>(i)), expected[i]) << i;
  }
  EXPECT_EQ(to_f32(q.scale.view()).as<float>()[0], 1);
  EXPECT_EQ(to_f32(q.scale.view()).as<float>()[1], 1);
}

TEST(QuantizeNearest4, NamesWhatItCannotDo) {
  ThreadPool pool(2);
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    std::vector<float> values(32, 1.0F);
    values[20] = bad;
    const Tensor w = test_tensor({2, 16}, values);
    expect_error([&] { quantize_4bit(pool, w, 8, "layer.w"); }, ErrorCode::bad_data,
                 {"layer.w", "NaN or an infinite"});
  }
  const Tensor w = test_tensor({2, 24}, std::vector<float>(48, 1.0F));
  for (const std::int64_t group : {0, 4, 12, 16, 48}) {
    expect_error([&] { quantize_4bit(pool, w, group, "layer.w"); }, ErrorCode::invalid_argument,
                 {"layer.w", std::to_string(group)});
  }
  EXPECT_EQ(group_within(64, 192), 64);
  EXPECT_EQ(group_within(128, 192), 64);
  EXPECT_EQ(group_within(128, 384), 128);
  EXPECT_EQ(group_within(64, 40), 8);
  EXPECT_EQ(group_within(64, 13), 1);
}

TEST(ConvertFloat, RoundsOnceAndRefusesOverflow) {
  ThreadPool pool(2);
  const std::vector<float> values = random_values(2, 9001);
  const Tensor f32 = test_tensor({9001}, values);
  const Tensor f16 = convert_float(pool, f32, DType::f16, "w");
  const Tensor bf16 = convert_float(pool, f32, DType::bf16, "w");
  for (std::size_t i = 0; i < values.size(); ++i) {
    ASSERT_EQ(f16.as<std::uint16_t>()[i], f32_to_f16(values[i]));
    ASSERT_EQ(bf16.as<std::uint16_t>()[i], f32_to_bf16(values[i]));
  }
  const Tensor wide = convert_float(pool, f16, DType::f32, "w");
  EXPECT_EQ(wide.as<float>()[17], f16_to_f32(f16.as<std::uint16_t>()[17]));
  EXPECT_EQ(convert_float(pool, f32, DType::f32, "w").view().data, f32.view().data);
  const Tensor large = test_tensor({2}, std::vector<float>{70000, 1});
  expect_error([&] { convert_float(pool, large, DType::f16, "w"); }, ErrorCode::bad_data,
               {"w", "stored as F16"});
  EXPECT_NO_THROW(convert_float(pool, large, DType::bf16, "w"));
}

TEST(RotateRows, KeepsLengthsAndProducts) {
  ThreadPool pool(2);
  const std::int64_t rows = 3, cols = 80;
  const Tensor w = test_tensor({rows, cols}, random_values(3, rows * cols));
  for (std::int64_t block : {20, 40, 80, 16}) {
    const Tensor rotated = rotate_rows(pool, w.view(), block, "w");
    const auto dot = [&](const Tensor& t, std::int64_t a, std::int64_t b) {
      double sum = 0;
      for (std::int64_t c = 0; c < cols; ++c) {
        sum += static_cast<double>(t.as<float>()[static_cast<std::size_t>(a * cols + c)]) *
               t.as<float>()[static_cast<std::size_t>(b * cols + c)];
      }
      return sum;
    };
    double moved = 0;
    for (std::size_t i = 0; i < static_cast<std::size_t>(rows * cols); ++i) {
      moved += std::fabs(rotated.as<float>()[i] - w.as<float>()[i]);
    }
    EXPECT_GT(moved, 10);
    for (std::int64_t a = 0; a < rows; ++a) {
      for (std::int64_t b = 0; b < rows; ++b) EXPECT_NEAR(dot(rotated, a, b), dot(w, a, b), 1e-5);
    }
  }
}

}  // namespace
}  // namespace krait
