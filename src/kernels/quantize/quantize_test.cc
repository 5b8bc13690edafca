#include "kernels/quantize/quantize.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kernels/test_support.h"

namespace krait {
namespace {

constexpr std::int64_t kSizes[] = {0, 1, 3, 7, 8, 9, 15, 16, 17, 24, 31, 33, 64, 100, 769};

std::int8_t expected_q(float x, float scale) {
  const float q = std::nearbyint(x / scale);
  return static_cast<std::int8_t>(std::max(-128.0f, std::min(127.0f, q)));
}

class Quantize : public ForEachIsa {};
INSTANTIATE_TEST_SUITE_P(Isas, Quantize, supported_isas(), isa_name);

TEST_P(Quantize, MicrokernelsMatchTheFormulaForAnyLength) {
  const QuantizeKernels& k = *microkernels(GetParam()).quantize;
  Rng rng(1);
  for (std::int64_t n : kSizes) {
    const Guarded<float> x(random_floats(rng, n, 3.0)), scale(random_floats(rng, n, 0.01, 0.02));
    Guarded<std::int8_t> q(n), qc(n);
    Guarded<float> back(n), back_channels(n);
    k.quantize(x.data(), 0.0137f, q.data(), n);
    k.quantize_channels(x.data(), scale.data(), qc.data(), n);
    k.dequantize(q.data(), 0.0137f, back.data(), n);
    k.dequantize_channels(qc.data(), scale.data(), back_channels.data(), n);
    float most = 0.0f;
    for (std::int64_t i = 0; i < n; ++i) {
      EXPECT_EQ(q[i], expected_q(x[i], 0.0137f));
      EXPECT_EQ(qc[i], expected_q(x[i], scale[i]));
      EXPECT_EQ(back[i], 0.0137f * static_cast<float>(q[i]));
      EXPECT_EQ(back_channels[i], scale[i] * static_cast<float>(qc[i]));
      most = std::max(most, std::abs(x[i]));
    }
    EXPECT_EQ(k.absmax(x.data(), n), most);
  }
}

TEST_P(Quantize, DigitsAreThoseOfSixteenBits) {
  const QuantizeKernels& k = *microkernels(GetParam()).quantize;
  constexpr float inf = std::numeric_limits<float>::infinity();
  Rng rng(4);
  for (std::int64_t n : kSizes) {
    std::vector<float> values = random_floats(rng, n, 3.0);
    const std::vector<float> edges = {0.5f,    1.5f,    -0.5f,  127.5f,       128.0f,
                                      -128.0f, -129.0f, 32639., 32640.f,      1e30f,
                                      -inf,    inf,     -0.0f,  std::nanf("")};
    // Divided by a power of two, edges stay what they are.
    for (std::size_t i = 0; i < std::min(values.size() / 2, edges.size()); ++i) {
      values[2 * i] = edges[i] / 8192.0f;
    }
    const Guarded<float> x(values);
    Guarded<std::int8_t> high(n), low(n);
    k.digits(x.data(), 1.0f / 8192.0f, high.data(), low.data(), n);
    for (std::int64_t i = 0; i < n; ++i) {
      const float scaled = std::isnan(x[i]) ? -inf : std::nearbyint(x[i] * 8192.0f);
      const int q = static_cast<int>(std::max(-32639.0f, std::min(32639.0f, scaled)));
      EXPECT_EQ(256 * high[i] + low[i], q) << x[i];
      EXPECT_NE(high[i], -128);
    }
  }
}

TEST_P(Quantize, RoundsHalfToEvenSaturatesAndSurvivesExtremes) {
  const QuantizeKernels& k = *microkernels(GetParam()).quantize;
  constexpr float inf = std::numeric_limits<float>::infinity();
  const std::vector<float> x = {0.5f,   1.5f,   2.5f,    -0.5f,   -1.5f,    -2.5f,
                                126.5f, 127.5f, -128.5f, -129.0f, 1e30f,    -1e30f,
                                inf,    -inf,   -0.0f,   1e-45f,  127.4999f};
  const std::vector<int> expected = {0,    2,   2,    0,   -2,   -2, 126, 127, -128,
                                     -128, 127, -128, 127, -128, 0,  0,   127};
  std::vector<std::int8_t> q(x.size());
  k.quantize(x.data(), 1.0f, q.data(), std::ssize(x));
  for (std::size_t i = 0; i < x.size(); ++i) EXPECT_EQ(q[i], expected[i]) << x[i];
  EXPECT_EQ(k.absmax(x.data(), std::ssize(x)), inf);
  const std::vector<float> nan = {1.0f, std::nanf(""), -3.0f, std::nanf("")};
  EXPECT_EQ(k.absmax(nan.data(), 4), inf);
  for (std::size_t i = 0; i < 40; ++i) {  // wherever it stands, and whatever comes after
    std::vector<float> one(40, 1.0f);
    one[i] = i % 2 ? std::nanf("") : -inf;
    EXPECT_EQ(k.absmax(one.data(), 40), inf);
  }
  k.quantize(nan.data(), 1.0f, q.data(), 4);
  EXPECT_EQ(q[1], -128);
}

// Every output numerics, strided views and thread counts give what the formula of activation.h
// says.
TEST_P(Quantize, WholeActivations) {
  Rng rng(2);
  for (int threads : {1, 2, 5}) {
    TestContext test(GetParam(), threads);
    for (std::int64_t cols : {1, 24, 1000}) {
      const std::int64_t rows = 67, stride = cols + 5;
      std::vector<float> data = random_floats(rng, rows * stride, 2.0);
      const Activation x = f32_activation(data.data(), rows, cols, stride);
      for (const Numerics& numerics : kAllNumerics) {
        TestActivation y(numerics, rows, cols, 0.015f, 3);
        quantize(test.ctx, x, y.view);
        std::vector<float> back(static_cast<std::size_t>(rows * cols));
        dequantize(test.ctx, y.view, f32_activation(back.data(), rows, cols));
        float tensor_max = 0.0f;
        for (std::int64_t t = 0; t < rows; ++t) {
          for (std::int64_t c = 0; c < cols; ++c)
            tensor_max = std::max(tensor_max, std::abs(x.f32(t)[c]));
        }
        for (std::int64_t t = 0; t < rows; ++t) {
          float row_max = 0.0f;
          for (std::int64_t c = 0; c < cols; ++c)
            row_max = std::max(row_max, std::abs(x.f32(t)[c]));
          for (std::int64_t c = 0; c < cols; ++c) {
            const float value = back[static_cast<std::size_t>(t * cols + c)];
            if (numerics.dtype == DType::f32) {
              ASSERT_EQ(value, x.f32(t)[c]);
              continue;
            }
            float scale = y.scale[0];
            if (numerics.strategy == Strategy::channel)
              scale = y.scale[static_cast<std::size_t>(c)];
            if (numerics.strategy == Strategy::token) scale = row_max / 127.0f;
            if (numerics.dynamic && numerics.strategy == Strategy::tensor)
              scale = tensor_max / 127.0f;
            ASSERT_EQ(value, scale * static_cast<float>(expected_q(x.f32(t)[c], scale)));
          }
        }
        EXPECT_TRUE(y.gaps_untouched());
      }
    }
  }
}

TEST_P(Quantize, DynamicScaleOfZerosIsOne) {
  TestContext test(GetParam(), 1);
  std::vector<float> zeros(40, 0.0f);
  for (const Numerics& numerics : kAllNumerics) {
    if (!numerics.dynamic) continue;
    TestActivation y(numerics, 2, 20, 0.0f);
    quantize(test.ctx, f32_activation(zeros.data(), 2, 20), y.view);
    EXPECT_EQ(y.scale[0], 1.0f);
    EXPECT_EQ(y.view.i8()[0], 0);
  }
}

TEST_P(Quantize, LoadRowTakesAColumnRange) {
  TestContext test(GetParam(), 1);
  Rng rng(3);
  std::vector<float> data = random_floats(rng, 3 * 50, 1.0);
  for (const Numerics& numerics : kAllNumerics) {
    TestActivation y(numerics, 3, 50, 0.01f, 2);
    quantize(test.ctx, f32_activation(data.data(), 3, 50), y.view);
    Guarded<float> all(50), range(19), of_view(19);
    load_row(*test.ctx.kernels.quantize, y.view, 2, 0, 50, all.data());
    load_row(*test.ctx.kernels.quantize, y.view, 2, 7, 26, range.data());
    load_row(*test.ctx.kernels.quantize, y.view.columns(7, 26), 2, 0, 19, of_view.data());
    for (int i = 0; i < 19; ++i) {
      EXPECT_EQ(range[i], all[7 + i]);
      EXPECT_EQ(of_view[i], all[7 + i]);
    }
  }
}

}  // namespace
}  // namespace krait
