#include "kernels/selective_scan/selective_scan.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/float16.h"
#include "kernels/quantize/quantize.h"
#include "kernels/test_support.h"

namespace krait {
namespace {

constexpr Numerics kFloat = kAllNumerics[0];

struct Options {
  std::int64_t tokens = 1, channels = 16, states = 16;
  Numerics inputs = kFloat;
  DType state = DType::f32;
  bool bias = true, gate = true;
};

void fill(Rng& rng, TestActivation& x, double bound) {
  if (x.view.dtype == DType::f32) {
    x.f32 = random_floats(rng, std::ssize(x.f32), bound);
    x.view.data = x.f32.data();
  } else {
    x.i8 = random_bytes(rng, std::ssize(x.i8));
    x.view.data = x.i8.data();
  }
}

/// A random layer of plausible magnitudes with its inputs and state.
struct Case {
  explicit Case(const Options& o)
      : options(o),
        u(o.inputs, o.tokens, o.channels, 0.02f, 5),
        dt(o.inputs, o.tokens, o.channels, 0.03f, 1),
        z(o.inputs, o.tokens, o.channels, 0.04f, 9),
        B(o.inputs, o.tokens, o.states, 0.01f, 3),
        C(o.inputs, o.tokens, o.states, 0.01f, 2),
        rng(21) {
    for (auto& [x, bound] : {std::pair{&u, 2.0}, {&dt, 4.0}, {&z, 4.0}, {&B, 1.0}, {&C, 1.0}}) {
      fill(rng, *x, bound);
    }
    const std::int64_t n = o.states * o.channels;
    a2 = random_floats(rng, n, -20.0, -0.01);
    D = random_floats(rng, o.channels, 1.0);
    dt_bias = random_floats(rng, o.channels, -6.0, -1.0);
    state_f32 = random_floats(rng, n, 1.0);
    state_i8 = random_bytes(rng, n);
    for (float h : state_f32) state_f16.push_back(f32_to_f16(h));
    state_scale = random_floats(rng, o.channels, 0.005, 0.02);
  }

  ScanParams params() const {
    return {a2.data(),      D.data(),      options.bias ? dt_bias.data() : nullptr,
            options.states, options.state, state_scale.data()};
  }
  void* state() {
    if (options.state == DType::f16) return state_f16.data();
    if (options.state == DType::i8) return state_i8.data();
    return state_f32.data();
  }
  /// Tokens [begin, end) of the inputs into rows of y.
  void run(Context& ctx, const Activation& y, std::int64_t begin, std::int64_t end) {
    const auto rows = [&](const TestActivation& x) { return x.view.row_range(begin, end); };
    const ScanInputs in{rows(u), rows(dt), rows(B), rows(C), options.gate ? rows(z) : Activation{}};
    const SequenceRun<void*> one[] = {{{.end = end - begin, .position = begin}, state()}};
    selective_scan(ctx, params(), in, one, y.row_range(begin, end));
  }
  void run(Context& ctx, const Activation& y, std::int64_t chunk = 1 << 30) {
    for (std::int64_t t = 0; t < options.tokens; t += chunk) {
      run(ctx, y, t, std::min(t + chunk, options.tokens));
    }
  }
  bool same_state(const Case& other) const {
    return same_bits(state_f32, other.state_f32) && same_bits(state_f16, other.state_f16) &&
           same_bits(state_i8, other.state_i8);
  }

  Options options;
  TestActivation u, dt, z, B, C;
  Rng rng;
  std::vector<float> a2, D, dt_bias, state_f32, state_scale;
  std::vector<std::uint16_t> state_f16;
  std::vector<std::int8_t> state_i8;
};

double at(const TestActivation& x, std::int64_t t, std::int64_t c) {
  float value;
  load_row(quantize_reference, x.view, t, c, c + 1, &value);
  return value;
}

class SelectiveScan : public ForEachIsa {};
INSTANTIATE_TEST_SUITE_P(Isas, SelectiveScan, supported_isas(), isa_name);

// The recurrence in double precision. With an f16 or int8 state a difference in the last bit may
// round the other way, so those start each token from the state of the kernel.
TEST_P(SelectiveScan, AgreesWithDoublePrecision) {
  TestContext test(GetParam());
  for (DType state : {DType::f32, DType::f16, DType::i8}) {
    for (const Numerics& inputs : kAllNumerics) {
      for (std::int64_t states : {1, 8, 16, 24}) {
        for (bool extras : {false, true}) {
          Case c({.tokens = 12,
                  .channels = 20,
                  .states = states,
                  .inputs = inputs,
                  .state = state,
                  .bias = extras,
                  .gate = extras});
          const Options& o = c.options;
          std::vector<double> h(c.state_f32.size());
          const auto take_state = [&] {
            for (std::size_t i = 0; i < h.size(); ++i) {
              const float s = c.state_scale[i % static_cast<std::size_t>(o.channels)];
              h[i] = state == DType::f32   ? c.state_f32[i]
                     : state == DType::f16 ? f16_to_f32(c.state_f16[i])
                                           : static_cast<double>(s) * c.state_i8[i];
            }
          };
          take_state();
          TestActivation y(kFloat, o.tokens, o.channels, 1.0f, 3);
          for (std::int64_t t = 0; t < o.tokens; ++t) {
            c.run(test.ctx, y.view, t, t + 1);
            for (std::int64_t ch = 0; ch < o.channels; ++ch) {
              const std::size_t i = static_cast<std::size_t>(ch);
              const double x = at(c.dt, t, ch) + (extras ? c.dt_bias[i] : 0.0f);
              const double delta = std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x)));
              const double u = at(c.u, t, ch);
              double sum = c.D[i] * u, magnitude = std::abs(sum);
              for (std::int64_t n = 0; n < states; ++n) {
                const std::size_t j = static_cast<std::size_t>(n * o.channels + ch);
                const double decay = std::exp(delta * c.a2[j] * 0.6931471805599453);
                h[j] = decay * h[j] + delta * u * at(c.B, t, n);
                sum += at(c.C, t, n) * h[j];
                magnitude +=
                    std::abs(at(c.C, t, n)) * (decay * std::abs(h[j]) + delta * std::abs(u));
              }
              const double z = at(c.z, t, ch);
              const double gate = extras ? z / (1 + std::exp(-z)) : 1.0;
              ASSERT_NEAR(y.view.f32(t)[ch], sum * gate, 3e-6 * magnitude * std::abs(gate) + 1e-12);
            }
            if (state != DType::f32) {
              std::vector<double> exact = h;
              take_state();
              for (std::size_t j = 0; j < h.size(); ++j) {
                const float s = c.state_scale[j % static_cast<std::size_t>(o.channels)];
                const double step = state == DType::i8 ? s : std::abs(exact[j]) * 0x1p-10 + 0x1p-24;
                const double bounded = state == DType::i8
                                           ? std::max(-128.0 * s, std::min(127.0 * s, exact[j]))
                                           : exact[j];
                ASSERT_NEAR(h[j], bounded, 0.5001 * step);
              }
            }
          }
          EXPECT_TRUE(y.gaps_untouched());
        }
      }
    }
  }
}

TEST_P(SelectiveScan, SameBitsAsReference) {
  TestContext reference(Isa::reference), one(GetParam(), 1), two(GetParam(), 2),
      five(GetParam(), 5);
  const auto compare = [&](const Options& o) {
    Case expected_case(o);
    TestActivation expected(kFloat, o.tokens, o.channels, 1.0f, 1);
    expected_case.run(reference.ctx, expected.view);
    for (TestContext* test : {&one, &two, &five}) {
      for (std::int64_t chunk : {std::int64_t{1}, std::int64_t{7}, o.tokens}) {
        Case c(o);
        TestActivation y(kFloat, o.tokens, o.channels, 1.0f, 1);
        c.run(test->ctx, y.view, chunk);
        ASSERT_TRUE(y.same_bits_as(expected))
            << o.channels << " x " << o.tokens << " x " << o.states;
        ASSERT_TRUE(c.same_state(expected_case));
      }
    }
  };
  for (DType state : {DType::f32, DType::f16, DType::i8}) {
    for (std::int64_t channels : {1, 3, 15, 16, 17, 24, 40, 63, 64, 100, 384}) {
      for (std::int64_t tokens : {1, 2, 3, 5}) {
        compare({.tokens = tokens, .channels = channels, .states = 16, .state = state});
      }
    }
    for (std::int64_t states : {1, 5, 8, 16, 24}) {
      for (const Numerics& inputs : kAllNumerics) {
        compare({.tokens = 17, .channels = 24, .states = states, .inputs = inputs, .state = state});
      }
      compare({.tokens = 64, .channels = 40, .states = states, .state = state, .bias = false});
      compare({.tokens = 3, .channels = 300, .states = states, .state = state, .gate = false});
    }
  }
}

TEST_P(SelectiveScan, ExtremeInputs) {
  const std::vector<float> values = {0.0f,  -0.0f,  100.0f, -100.0f, 1e-40f, -1e-40f, 1e7f,
                                     -1e7f, 0.001f, 88.0f,  -87.4f,  1e-20f, 20.0f};
  const auto run = [&](Isa isa, DType state) {
    TestContext test(isa);
    Case c({.tokens = 30, .channels = 37, .states = 16, .state = state});
    for (TestActivation* x : {&c.u, &c.dt, &c.z, &c.B, &c.C}) {
      for (float& v : x->f32) v = values[c.rng.below(values.size())];
    }
    c.a2[0] = -0.0f;
    c.a2[1] = -1e30f;
    TestActivation y(kFloat, 30, 37, 1.0f);
    c.run(test.ctx, y.view);
    std::vector<float> all = y.f32;
    all.insert(all.end(), c.state_f32.begin(), c.state_f32.end());
    for (std::uint16_t h : c.state_f16) all.push_back(f16_to_f32(h));
    all.insert(all.end(), c.state_i8.begin(), c.state_i8.end());
    for (float& v : all) v = std::isnan(v) ? 12345.0f : v;  // payloads are not part of the contract
    return all;
  };
  for (DType state : {DType::f32, DType::f16, DType::i8}) {
    const std::vector<float> expected = run(Isa::reference, state);
    EXPECT_TRUE(same_bits(run(GetParam(), state), expected));
    if (state == DType::f32) {
      for (float v : expected) EXPECT_TRUE(std::isfinite(v));
    }
  }
}

// A large dt forgets the past entirely, a very negative one keeps it to the bit.
TEST_P(SelectiveScan, LimitsOfTheTimeStep) {
  TestContext test(GetParam());
  for (float dt : {-200.0f, 100.0f}) {
    Case c({.tokens = 1, .channels = 20, .states = 16, .bias = false, .gate = false});
    for (float& v : c.dt.f32) v = dt;
    for (float& a : c.a2) a = -2.0f;
    const std::vector<float> before = c.state_f32;
    TestActivation y(kFloat, 1, 20, 1.0f);
    c.run(test.ctx, y.view);
    for (std::int64_t i = 0; i < 16 * 20; ++i) {
      const std::size_t j = static_cast<std::size_t>(i);
      const float fresh = dt * c.u.f32[j % 20] * c.B.f32[j / 20];
      EXPECT_EQ(c.state_f32[j], dt < 0 ? before[j] : fresh);
    }
  }
}

}  // namespace
}  // namespace krait
