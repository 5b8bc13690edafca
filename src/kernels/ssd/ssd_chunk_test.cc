// Whole chunks of an f32 state: the contract of ssd.h literally, and how far it is from the
// recurrence.
#include <gtest/gtest.h>

#include <cmath>

#include "kernels/ssd/test_ssd_head.h"

namespace krait {
namespace {

constexpr std::int64_t Q = kSsdChunk;

class SsdChunks : public ForEachIsa {};
INSTANTIATE_TEST_SUITE_P(Isas, SsdChunks, supported_isas(), isa_name);

TEST_P(SsdChunks, AreThoseOfTheContract) {
  TestContext one(GetParam(), 1), two(GetParam(), 2), five(GetParam(), 5);
  const auto compare = [&](const SsdOptions& o) {
    const SsdCase before(o);
    std::vector<float> state;
    std::vector<float> y(size(o.tokens * before.channels));
    for (std::int64_t h = 0; h < o.heads; ++h) {
      Head head(before, h);
      for (std::int64_t t = 0; t < o.tokens;) {
        const bool whole = (o.position + t) % Q == 0 && t + Q <= o.tokens;
        whole ? head.take_chunk(t, Q) : head.take_token(t);
        t += whole ? Q : 1;
      }
      state.insert(state.end(), head.S.begin(), head.S.end());
      for (std::int64_t i = 0; i < std::ssize(head.y); ++i) {
        y[size(i / o.head_dim * before.channels + h * o.head_dim + i % o.head_dim)] =
            head.y[size(i)];
      }
    }
    for (TestContext* test : {&one, &two, &five}) {
      SsdCase c(o);
      TestActivation out(kFloat, o.tokens, c.channels, 1.0f, 3);
      c.run(test->ctx, out.view);
      for (std::int64_t t = 0; t < o.tokens; ++t) {
        ASSERT_EQ(std::memcmp(out.view.f32(t), y.data() + t * c.channels, size(c.channels) * 4), 0)
            << o.heads << " x " << o.head_dim << " x " << o.states << ", token " << t;
      }
      ASSERT_TRUE(same_bits(c.state_f32, state));
      EXPECT_TRUE(out.gaps_untouched());
    }
  };
  for_chunk_shapes(Q - 2, compare);
  for (const std::int64_t position : {std::int64_t{1}, Q - 1, 5 * Q, (std::int64_t{7} << 32) + 3}) {
    compare({.tokens = 3 * Q - 1, .heads = 2, .head_dim = 24, .position = position});
  }
}

/// Outputs and state of the tokens, taken in calls that end at `ends` and at the last token.
std::vector<float> cut_at(Context& ctx, const SsdOptions& o, std::vector<std::int64_t> ends) {
  SsdCase c(o);
  TestActivation y(kFloat, o.tokens, c.channels, 1.0f);
  ends.push_back(o.tokens);
  std::int64_t begin = 0;
  for (const std::int64_t end : ends) {
    const auto rows = [&](const TestActivation& a) { return a.view.row_range(begin, end); };
    ssd(ctx, c.params(), {rows(c.x), rows(c.dt), rows(c.B), rows(c.C)}, c.state(begin), rows(y));
    begin = end;
  }
  y.f32.insert(y.f32.end(), c.state_f32.begin(), c.state_f32.end());
  return y.f32;
}

std::vector<std::int64_t> every(std::int64_t step, std::int64_t tokens) {
  std::vector<std::int64_t> ends;
  for (std::int64_t end = step; end < tokens; end += step) ends.push_back(end);
  return ends;
}

TEST_P(SsdChunks, StandAtPositionsOfTheSequence) {
  TestContext test(GetParam(), 2);
  const std::int64_t tokens = 6 * Q + 5;
  const SsdOptions o{.tokens = tokens, .heads = 3, .head_dim = 24, .states = 20, .position = 3};
  const auto cut = [&](const std::vector<std::int64_t>& ends) { return cut_at(test.ctx, o, ends); };
  const std::vector<float> whole = cut({}), steps = cut(every(1, tokens));
  const std::int64_t first = Q - 3;  // where a chunk begins
  for (const auto& ends : {std::vector{first},
                           {first + Q, first + 2 * Q},
                           {first - 2, first + 3 * Q},
                           {1, first, first + Q, first + 2 * Q, first + 5 * Q + 1, tokens - 1}}) {
    EXPECT_TRUE(same_bits(cut(ends), whole));
  }
  EXPECT_FALSE(same_bits(cut({first + 1}), whole));
  EXPECT_FALSE(same_bits(steps, whole));
  for (const std::int64_t step : {3, 7, 15})
    EXPECT_TRUE(same_bits(cut(every(step, tokens)), steps));
}

/// The largest differences, in what kSsdTolerance counts in.
struct Spread {
  double outputs = 0, state = 0;
};

/// Of chunks from the recurrence, or `exact`: from double precision. All decays are raised to the
/// power `power`.
Spread spread(const SsdOptions& o, double power, Context& ctx, bool exact) {
  SsdCase start(o), chunks(o), steps(o);
  for (SsdCase* c : {&start, &chunks, &steps}) {
    for (float& a2 : c->a2) a2 *= static_cast<float>(power);
  }
  TestActivation y(kFloat, o.tokens, start.channels, 1.0f),
      y_steps(kFloat, o.tokens, start.channels, 1.0f);
  chunks.run(ctx, y.view);
  steps.run(ctx, y_steps.view, 1);
  Spread result;
  const auto worst = [](double& to, double got, double wanted, double magnitude) {
    EXPECT_TRUE(std::isfinite(got));
    to = std::max(to, std::abs(got - wanted) / (magnitude + 1e-30));
  };
  for (std::int64_t h = 0; h < o.heads; ++h) {
    const Head head(start, h);
    std::vector<double> S(head.S.begin(), head.S.end()), M(S);
    for (double& m : M) m = std::abs(m);
    for (std::int64_t t = 0; t < o.tokens; ++t) {
      const double raw = at(start.dt, t, h) + start.dt_bias[size(h)];
      const double step = std::max(raw, 0.0) + std::log1p(std::exp(-std::abs(raw)));
      const double a = std::exp2(std::clamp<double>(step, o.dt_min, o.dt_max) * start.a2[size(h)]);
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
        worst(result.outputs, y.view.f32(t)[column], exact ? out : y_steps.view.f32(t)[column],
              magnitude);
      }
    }
    for (std::size_t i = 0; i < S.size(); ++i) {
      const std::size_t at_i = size(h * o.states * o.head_dim) + i;
      worst(result.state, chunks.state_f32[at_i], exact ? S[i] : steps.state_f32[at_i], M[i]);
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
