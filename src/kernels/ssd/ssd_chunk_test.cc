// How far chunks are from the recurrence.
#include <gtest/gtest.h>

#include <cmath>

#include "kernels/ssd/test_ssd_head.h"

namespace krait {
namespace {

constexpr std::int64_t Q = kSsdChunk;

class SsdChunks : public ForEachIsa {};
INSTANTIATE_TEST_SUITE_P(Isas, SsdChunks, supported_isas(), isa_name);

/// The largest differences, in what kSsdTolerance counts in.
struct Spread {
  double outputs = 0, state = 0;
};

/// Of chunks from the recurrence, or `exact`: from double precision. All decays are raised to the
/// power `power`.
Spread spread(const SsdOptions& o, double power, Context& ctx, bool exact) {
  SsdCase start(o), chunks(o);
  for (SsdCase* c : {&start, &chunks}) {
    for (float& a2 : c->a2) a2 *= static_cast<float>(power);
  }
  TestActivation y(kFloat, o.tokens, start.channels, 1.0f);
  chunks.run(ctx, y.view);
  Spread result;
  const auto worst = [](double& to, double got, double wanted, double magnitude) {
    EXPECT_TRUE(std::isfinite(got));
    to = std::max(to, std::abs(got - wanted) / (magnitude + 1e-30));
  };
  for (std::int64_t h = 0; h < o.heads; ++h) {
    Head head(start, h);
    std::vector<double> S(head.S.begin(), head.S.end()), M(S);
    for (double& m : M) m = std::abs(m);
    for (std::int64_t t = 0; t < o.tokens; ++t) {
      const double raw = at(start.dt, t, h) + start.dt_bias[size(h)];
      const double step = std::max(raw, 0.0) + std::log1p(std::exp(-std::abs(raw)));
      const double a = std::exp2(std::clamp<double>(step, o.dt_min, o.dt_max) * start.a2[size(h)]);
      head.take_token(t);
      for (std::int64_t p = 0; p < o.head_dim; ++p) {
        const double x = head.x[size(t * o.head_dim + p)];
        const double dx = std::clamp<double>(step, o.dt_min, o.dt_max) * x;
        double out = head.D[size(p)] * x, magnitude = std::abs(out);
        for (std::int64_t n = 0; n < o.states; ++n) {
          const std::size_t i = size(n * o.head_dim + p);
          const double B = head.B[size(t * o.states + n)], C = head.C[size(t * o.states + n)];
          S[i] = a * S[i] + dx * B;
          M[i] = a * M[i] + std::abs(dx * B);
          out += C * S[i];
          magnitude += std::abs(C) * M[i];
        }
        const std::int64_t column = h * o.head_dim + p;
        worst(result.outputs, y.view.f32(t)[column], exact ? out : head.y[size(t * o.head_dim + p)],
              magnitude);
      }
    }
    for (std::size_t i = 0; i < S.size(); ++i) {
      const std::size_t at_i = size(h * o.states * o.head_dim) + i;
      worst(result.state, chunks.state_f32[at_i], exact ? S[i] : head.S[i], M[i]);
    }
  }
  return result;
}

// From decays that forget everything in one token to such that keep everything.
TEST_P(SsdChunks, AreNearTheRecurrenceAndDoublePrecision) {
  TestContext test(GetParam(), 2);
  for (const double power : {1e4, 1.0, 1e-2, 0.0}) {
    for (const auto& [tokens, states] : {std::array{20 * Q, std::int64_t{128}}, {64 * Q, 5}}) {
      const SsdOptions o{.tokens = tokens, .heads = 3, .head_dim = 7, .states = states};
      for (const bool exact : {false, true}) {
        const Spread got = spread(o, power, test.ctx, exact);
        EXPECT_LE(got.outputs, kSsdTolerance);
        EXPECT_LE(got.state, kSsdTolerance);
        EXPECT_GT(got.outputs, 0);
      }
    }
  }
}

// What is not finite in a token is not seen before it.
TEST_P(SsdChunks, NoOutputDependsOnLaterTokens) {
  TestContext test(GetParam());
  const SsdOptions o{.tokens = 2 * Q, .heads = 2, .head_dim = 40, .states = 9};
  SsdCase plain(o);
  TestActivation expected(kFloat, o.tokens, plain.channels, 1.0f);
  plain.run(test.ctx, expected.view);
  for (const std::int64_t t : {Q + 1, Q + Q / 2, 2 * Q - 1}) {
    for (const float bad : {kInfinity, std::nanf("")}) {
      SsdCase c(o);
      for (TestActivation* values : {&c.x, &c.B, &c.C}) values->view.f32(t)[0] = bad;
      TestActivation y(kFloat, o.tokens, c.channels, 1.0f);
      c.run(test.ctx, y.view);
      EXPECT_EQ(std::memcmp(y.f32.data(), expected.f32.data(), size(t * c.channels) * 4), 0);
      EXPECT_FALSE(std::isfinite(y.view.f32(t)[0]));
    }
  }
}

}  // namespace
}  // namespace krait
