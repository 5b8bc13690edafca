#include "kernels/causal_conv1d/causal_conv1d.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kernels/quantize/quantize.h"
#include "kernels/test_support.h"

namespace krait {
namespace {

/// A random layer with its input: int8 parts hold random q.
struct Case {
  Case(std::uint64_t seed, bool i8_weight, const Numerics& x_numerics, std::int64_t tokens,
       std::int64_t channels, std::int64_t taps, bool with_bias = true)
      : x(x_numerics, tokens, channels, 0.021f, 7) {
    Rng rng(seed);
    weight.data = Tensor(i8_weight ? DType::i8 : DType::f32, {taps, channels});
    if (i8_weight) {
      for (std::int8_t& q : weight.data.mutable_as<std::int8_t>())
        q = static_cast<std::int8_t>(rng.next());
      weight.scale = Tensor(DType::f32, {channels});
      for (float& s : weight.scale.mutable_as<float>())
        s = static_cast<float>(0.001 + 0.01 * rng.uniform());
    } else {
      for (float& w : weight.data.mutable_as<float>())
        w = static_cast<float>(2 * rng.uniform() - 1);
    }
    if (with_bias) {
      weight.bias = Tensor(DType::f32, {channels});
      for (float& b : weight.bias.mutable_as<float>())
        b = static_cast<float>(2 * rng.uniform() - 1);
    }
    state_is_i8 = x_numerics.dtype == DType::i8 && x_numerics.strategy == Strategy::tensor &&
                  !x_numerics.dynamic;
    if (x_numerics.dtype == DType::f32) {
      x.f32 = random_floats(rng, std::ssize(x.f32), 3.0);
      x.view.data = x.f32.data();
    } else {
      x.i8 = random_bytes(rng, std::ssize(x.i8));
      x.view.data = x.i8.data();
      if (x_numerics.strategy == Strategy::token)
        x.scale = random_floats(rng, std::ssize(x.scale), 0.01, 0.03);
      x.view.scale = x.scale.data();
    }
    state_f32 = random_floats(rng, (taps - 1) * channels, 3.0);
    state_i8 = random_bytes(rng, (taps - 1) * channels);
  }

  /// Value of channel c of the input t, which the state holds where t < 0.
  double input(std::int64_t t, std::int64_t c) const {
    const std::int64_t kept = weight.kernel() - 1;
    if (t < 0) {
      const std::size_t i = static_cast<std::size_t>((kept + t) * weight.channels() + c);
      return state_is_i8 ? x.scale[0] * static_cast<float>(state_i8[i]) : state_f32[i];
    }
    float value;
    load_row(quantize_reference, x.view, t, c, c + 1, &value);
    return value;
  }
  double tap(std::int64_t k, std::int64_t c) const {
    const std::size_t i = static_cast<std::size_t>(k * weight.channels() + c);
    if (weight.data.dtype() == DType::f32) return weight.data.as<float>()[i];
    return static_cast<double>(weight.scale.as<float>()[static_cast<std::size_t>(c)]) *
           weight.data.as<std::int8_t>()[i];
  }
  void* state() {
    return state_is_i8 ? static_cast<void*>(state_i8.data()) : static_cast<void*>(state_f32.data());
  }
  /// Calls the operation on tokens in chunks of at most `chunk`.
  void run(Context& ctx, const Activation& u, std::int64_t chunk = 1 << 30) {
    for (std::int64_t t = 0; t < x.view.rows; t += chunk) {
      const std::int64_t end = std::min(t + chunk, x.view.rows);
      const SequenceRun<void*> one[] = {{{.end = end - t, .position = t}, state()}};
      causal_conv1d(ctx, weight, x.view.row_range(t, end), one, u.row_range(t, end));
    }
  }

  ConvWeight weight;
  TestActivation x;
  bool state_is_i8;
  std::vector<float> state_f32;
  std::vector<std::int8_t> state_i8;
};

constexpr Numerics kFloat = kAllNumerics[0];

class CausalConv1d : public ForEachIsa {};
INSTANTIATE_TEST_SUITE_P(Isas, CausalConv1d, supported_isas(), isa_name);

TEST_P(CausalConv1d, AgreesWithDoublePrecision) {
  TestContext test(GetParam());
  const std::int64_t tokens = 9, channels = 40;
  for (bool i8_weight : {false, true}) {
    for (const Numerics& numerics : kAllNumerics) {
      for (std::int64_t taps : {1, 2, 3, 4, 8}) {
        for (bool bias : {false, true}) {
          Case c(11, i8_weight, numerics, tokens, channels, taps, bias);
          const Case before(11, i8_weight, numerics, tokens, channels, taps, bias);
          TestActivation u(kFloat, tokens, channels, 1.0f, 2);
          c.run(test.ctx, u.view);
          EXPECT_TRUE(u.gaps_untouched());
          for (std::int64_t t = 0; t < tokens; ++t) {
            for (std::int64_t ch = 0; ch < channels; ++ch) {
              double v = bias ? c.weight.bias.as<float>()[static_cast<std::size_t>(ch)] : 0.0;
              double magnitude = std::abs(v);
              for (std::int64_t k = 0; k < taps; ++k) {
                const double term = before.tap(k, ch) * before.input(t - taps + 1 + k, ch);
                v += term;
                magnitude += std::abs(term);
              }
              ASSERT_NEAR(u.view.f32(t)[ch], v / (1 + std::exp(-v)), 1e-6 * (magnitude + 1e-3));
            }
          }
          for (std::int64_t j = 1 - taps; j < 0; ++j) {
            for (std::int64_t ch = 0; ch < channels; ++ch) {
              ASSERT_EQ(c.input(j, ch), before.input(tokens + j, ch));
            }
          }
        }
      }
    }
  }
}

// Reference against this instruction set, threads and chunks, for every numerics in and out.
TEST_P(CausalConv1d, SameBitsAsReference) {
  TestContext reference(Isa::reference), one(GetParam(), 1), two(GetParam(), 2),
      five(GetParam(), 5);
  const auto compare = [&](std::int64_t tokens, std::int64_t channels, std::int64_t taps,
                           bool i8_weight, const Numerics& in, const Numerics& out) {
    const auto make = [&] { return Case(12, i8_weight, in, tokens, channels, taps); };
    Case expected_case = make();
    TestActivation expected(out, tokens, channels, 0.01f);
    expected_case.run(reference.ctx, expected.view);
    for (TestContext* test : {&one, &two, &five}) {
      for (std::int64_t chunk : {std::int64_t{1}, std::int64_t{2}, tokens}) {
        if (out.dynamic && out.strategy == Strategy::tensor && chunk != tokens) continue;
        Case c = make();
        TestActivation u(out, tokens, channels, 0.01f);
        c.run(test->ctx, u.view, chunk);
        ASSERT_TRUE(u.same_bits_as(expected)) << channels << " x " << tokens;
        ASSERT_TRUE(same_bits(c.state_f32, expected_case.state_f32));
        ASSERT_TRUE(same_bits(c.state_i8, expected_case.state_i8));
      }
    }
  };
  for (bool i8_weight : {false, true}) {
    for (const Numerics& in : kAllNumerics) {
      for (std::int64_t channels : {1, 3, 15, 16, 17, 24, 40, 63, 64, 100, 384}) {
        for (std::int64_t tokens : {1, 2, 5}) compare(tokens, channels, 4, i8_weight, in, kFloat);
      }
      for (const Numerics& out : kAllNumerics) {
        for (std::int64_t taps : {2, 3, 4}) compare(17, 24, taps, i8_weight, in, out);
        compare(64, 100, 4, i8_weight, in, out);
        compare(3, 1100, 4, i8_weight, in, out);
      }
    }
  }
}

// Integer sums are exact at the extremes: 4 * 128 * 128 in one channel, the negative in the next.
TEST_P(CausalConv1d, ExtremeIntegers) {
  TestContext test(GetParam());
  for (std::int64_t channels : {5, 16, 24}) {
    Case c(13, true, kAllNumerics[1], 1, channels, 4, false);
    for (std::size_t i = 0; i < c.state_i8.size(); ++i) c.state_i8[i] = -128;
    for (std::int8_t& q : c.x.i8) q = -128;
    auto w = c.weight.data.mutable_as<std::int8_t>();
    for (std::size_t i = 0; i < w.size(); ++i) {
      w[i] = i % static_cast<std::size_t>(channels) % 2 ? 127 : -128;
    }
    for (float& s : c.weight.scale.mutable_as<float>()) s = 1.0f;
    c.x.scale[0] = 0.001f;
    TestActivation u(kFloat, 1, channels, 1.0f);
    c.run(test.ctx, u.view);
    for (std::int64_t ch = 0; ch < channels; ++ch) {
      const double v = (ch % 2 ? -4.0 * 127 * 128 : 4.0 * 128 * 128) * 0.001f;
      EXPECT_NEAR(u.view.f32()[ch], v / (1 + std::exp(-v)), 1e-5);
    }
  }
}

TEST_P(CausalConv1d, ExtremeFloats) {
  const std::vector<float> values = {0.0f,   -0.0f,  1e-40f,  -1e-40f, 1e30f,
                                     -1e30f, 100.0f, -100.0f, 88.0f,   -87.5f};
  const auto run = [&](Isa isa) {
    TestContext test(isa);
    Case c(14, false, kFloat, 40, 37, 4);
    for (std::size_t i = 0; i < c.x.f32.size(); ++i) c.x.f32[i] = values[i % values.size()];
    TestActivation u(kFloat, 40, 37, 1.0f);
    c.run(test.ctx, u.view);
    return u.f32;
  };
  const std::vector<float> expected = run(Isa::reference);
  EXPECT_TRUE(same_bits(run(GetParam()), expected));
  for (float v : expected) EXPECT_TRUE(std::isfinite(v));
}

}  // namespace
}  // namespace krait
