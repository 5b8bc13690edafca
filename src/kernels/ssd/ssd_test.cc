#include "kernels/ssd/ssd.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kernels/ssd/test_ssd.h"

namespace krait {
namespace {

using Options = SsdOptions;
using Case = SsdCase;

class Ssd : public ForEachIsa {};
INSTANTIATE_TEST_SUITE_P(Isas, Ssd, supported_isas(), isa_name);

/// One token in double precision from the state `s`: y [channels], and a bound of what rounding to
/// f32 may do to each.
void exact_step(const Case& c, std::int64_t t, std::vector<double>& s, std::vector<double>& y,
                std::vector<double>& magnitude) {
  const Options& o = c.options;
  std::size_t i = 0;
  y.assign(static_cast<std::size_t>(c.channels), 0);
  magnitude = y;
  for (std::int64_t h = 0; h < o.heads; ++h) {
    const double raw = at(c.dt, t, h) + c.dt_bias[static_cast<std::size_t>(h)];
    const double step = std::max(raw, 0.0) + std::log1p(std::exp(-std::abs(raw)));
    const double delta = std::clamp<double>(step, o.dt_min, o.dt_max);
    const double decay = std::exp2(delta * c.a2[static_cast<std::size_t>(h)]);
    const std::int64_t group = h * o.groups / o.heads * o.states;
    for (std::int64_t n = 0; n < o.states; ++n) {
      for (std::int64_t p = 0; p < o.head_dim; ++p, ++i) {
        const std::int64_t channel = h * o.head_dim + p;
        const std::size_t out = static_cast<std::size_t>(channel);
        const double dx = delta * at(c.x, t, channel);
        const double B = at(c.B, t, group + n), C = at(c.C, t, group + n);
        magnitude[out] += std::abs(C) * (std::abs(decay * s[i]) + std::abs(dx * B));
        s[i] = decay * s[i] + dx * B;
        y[out] += C * s[i];
      }
    }
  }
  for (std::int64_t channel = 0; channel < c.channels; ++channel) {
    const std::size_t out = static_cast<std::size_t>(channel);
    y[out] += c.D[out] * at(c.x, t, channel);
    magnitude[out] += std::abs(c.D[out] * at(c.x, t, channel));
  }
}

/// Each row's scale is its largest value over 127.
void expect_row_scales(const Case& c, const std::vector<double>& s) {
  const Options& o = c.options;
  for (std::int64_t channel = 0; channel < c.channels; ++channel) {
    double largest = 0;
    for (std::int64_t n = 0; n < o.states; ++n) {
      const std::int64_t head = channel / o.head_dim;
      const std::int64_t i = (head * o.states + n) * o.head_dim + channel % o.head_dim;
      largest = std::max(largest, std::abs(s[static_cast<std::size_t>(i)]));
    }
    ASSERT_NEAR(c.state_scale[static_cast<std::size_t>(channel)], largest / 127, 1e-6 * largest);
  }
}

// With an f16 or int8 state a difference in the last bit may round the other way, so those start
// each token from the state of the kernel. Where there are chunks the sixth token ends one.
TEST_P(Ssd, AgreesWithDoublePrecision) {
  TestContext test(GetParam());
  for (const Kept state : kAllKept) {
    for (const Numerics& inputs : kAllNumerics) {
      for (const auto& [heads, head_dim, groups, states] :
           {std::array{1, 20, 1, 5}, {4, 7, 2, 16}, {6, 64, 3, 3}}) {
        Case c({.tokens = 11,
                .heads = heads,
                .head_dim = head_dim,
                .groups = groups,
                .states = states,
                .inputs = inputs,
                .state = state,
                .position = 2 * kSsdChunk - 6,
                .dt_min = 0.05f,
                .dt_max = states == 3 ? kInfinity : 0.5f});
        std::vector<double> s(c.state_f32.size()), y_exact, magnitude;
        for (std::size_t i = 0; i < s.size(); ++i) s[i] = c.value(i, 0);
        TestActivation y(kFloat, 11, c.channels, 1.0f, 3);
        for (std::int64_t t = 0; t < 11; ++t) {
          c.run(test.ctx, y.view, t, t + 1);
          exact_step(c, t, s, y_exact, magnitude);
          for (std::size_t i = 0; i < y_exact.size(); ++i) {
            ASSERT_NEAR(y.view.f32(t)[i], y_exact[i], 4e-6 * magnitude[i] + 1e-12);
          }
          for (std::size_t i = 0; state != Kept::f32 && i < s.size(); ++i) {
            const double step =
                c.is_int8() ? static_cast<double>(c.scale(i)) : std::abs(s[i]) * 0x1p-10 + 0x1p-24;
            if (c.is_dynamic() && c.recent(t + 1) > 0) {
              ASSERT_NEAR(c.value(i, t + 1), s[i], 2e-6);
              continue;
            }
            const double bounded = c.is_int8() ? std::clamp(s[i], -128 * step, 127 * step) : s[i];
            ASSERT_NEAR(c.value(i, t + 1), bounded, 0.5001 * step + 1e-7);
          }
          if (c.is_dynamic() && c.recent(t + 1) == 0) expect_row_scales(c, s);
          for (std::size_t i = 0; state != Kept::f32 && i < s.size(); ++i) s[i] = c.value(i, t + 1);
        }
        EXPECT_TRUE(y.gaps_untouched());
      }
    }
  }
}

TEST_P(Ssd, SameBitsAsReferenceForAnyThreadsAndChunks) {
  TestContext reference(Isa::reference), one(GetParam(), 1), two(GetParam(), 2),
      five(GetParam(), 5);
  const auto compare = [&](const Options& o) {
    for (const std::int64_t chunk : {std::int64_t{1}, std::int64_t{7}, o.tokens}) {
      Case expected_case(o);
      TestActivation expected(kFloat, o.tokens, expected_case.channels, 1.0f, 1);
      expected_case.run(reference.ctx, expected.view);
      for (TestContext* test : {&one, &two, &five}) {
        Case c(o);
        TestActivation y(kFloat, o.tokens, c.channels, 1.0f, 1);
        c.run(test->ctx, y.view, chunk);
        ASSERT_TRUE(y.same_bits_as(expected))
            << o.heads << " x " << o.head_dim << " x " << o.states << " x " << o.tokens;
        ASSERT_TRUE(c.same_state(expected_case));
      }
    }
  };
  for (const Kept state : kAllKept) {
    for (const std::int64_t head_dim : {1, 3, 8, 15, 16, 17, 40, 64, 100}) {
      for (const std::int64_t tokens : {1, 8, 19}) {
        compare({.tokens = tokens, .heads = 3, .head_dim = head_dim, .state = state});
      }
    }
    for (const Numerics& inputs : kAllNumerics) {
      compare({.tokens = 21,
               .heads = 8,
               .head_dim = 24,
               .groups = 4,
               .states = 33,
               .inputs = inputs,
               .state = state,
               .dt_min = 0.01f,
               .dt_max = 0.3f});
    }
    compare({.tokens = 64, .heads = 2, .head_dim = 64, .states = 128, .state = state});
  }
}

TEST_P(Ssd, ExtremeInputs) {
  const std::vector<float> values = {0.0f,  -0.0f,  100.0f, -100.0f, 1e-40f, -1e-40f, 1e7f,
                                     -1e7f, 0.001f, 88.0f,  -87.4f,  1e-20f, 20.0f};
  const auto run = [&](Isa isa, Kept state) {
    TestContext test(isa);
    Case c({.tokens = 30, .heads = 3, .head_dim = 21, .states = 16, .state = state});
    for (TestActivation* x : {&c.x, &c.dt, &c.B, &c.C}) {
      for (float& v : x->f32) v = values[c.rng.below(values.size())];
    }
    c.a2[0] = -0.0f;
    c.a2[1] = -1e30f;
    TestActivation y(kFloat, 30, c.channels, 1.0f);
    c.run(test.ctx, y.view);
    std::vector<float> all = y.f32;
    for (std::size_t i = 0; i < c.state_f32.size(); ++i) {
      all.push_back(static_cast<float>(c.value(i, c.options.tokens)));
    }
    for (float& v : all) v = std::isnan(v) ? 12345.0f : v;  // payloads are not part of the contract
    return all;
  };
  for (const Kept state : kAllKept) {
    const std::vector<float> expected = run(Isa::reference, state);
    EXPECT_TRUE(same_bits(run(GetParam(), state), expected)) << static_cast<int>(state);
    if (state == Kept::f32) {
      for (float v : expected) EXPECT_TRUE(std::isfinite(v));
    }
  }
}

// A large dt forgets the past entirely unless the limit holds it back, a very negative one keeps it
// to the bit unless the limit lifts it.
TEST_P(Ssd, LimitsOfTheTimeStep) {
  TestContext test(GetParam());
  const auto decay_of = [&](float dt, float dt_min, float dt_max) {
    Case c({.tokens = 1, .heads = 1, .dt_min = dt_min, .dt_max = dt_max});
    c.dt_bias[0] = 0;
    c.dt.f32[0] = dt;
    c.a2[0] = -2.0f;
    for (float& v : c.x.f32) v = 0;
    const std::vector<float> before = c.state_f32;
    TestActivation y(kFloat, 1, 16, 1.0f);
    c.run(test.ctx, y.view);
    const auto decay = [&](std::size_t i) { return static_cast<float>(c.value(i, 1)) / before[i]; };
    for (std::size_t i = 0; i < before.size(); ++i) {
      EXPECT_EQ(decay(i) > 0.5f, decay(0) > 0.5f);
    }
    return decay(0);
  };
  EXPECT_EQ(decay_of(-200.0f, 0, kInfinity), 1.0f);
  EXPECT_LT(decay_of(100.0f, 0, kInfinity), 1e-37f);
  EXPECT_FLOAT_EQ(decay_of(-200.0f, 0.5f, kInfinity), 0.5f);
  EXPECT_FLOAT_EQ(decay_of(100.0f, 0, 0.125f), std::exp2(-0.25f));
}

TEST_P(Ssd, StateValuesAreThoseOfTheContract) {
  TestContext test(GetParam());
  for (const Kept state : kAllKept) {
    Case c({.tokens = 21, .heads = 4, .head_dim = 5, .groups = 2, .states = 7, .state = state});
    TestActivation y(kFloat, 21, c.channels, 1.0f);
    c.run(test.ctx, y.view);
    std::vector<float> values(c.state_f32.size());
    ssd_state_values(test.ctx, c.params(), c.state(), 21,
                     f32_activation(values.data(), c.channels, 7));
    for (std::size_t i = 0; i < values.size(); ++i) {  // (head, n, p)
      const std::size_t channel = i / 35 * 5 + i % 5, n = i / 5 % 7;
      ASSERT_NEAR(values[channel * 7 + n], c.value(i, 21), 1e-6) << static_cast<int>(state);
    }
  }
}

}  // namespace
}  // namespace krait
