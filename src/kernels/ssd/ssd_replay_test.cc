// States that stay as they are within a chunk, f32 and dynamic int8: the contract of ssd.h
// literally, and that nothing else makes the bits.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <memory>

#include "kernels/ssd/test_ssd_head.h"

namespace krait {
namespace {

constexpr std::int64_t Q = kSsdChunk;

class SsdReplay : public ForEachIsa {};
constexpr Kept kReplayed[] = {Kept::f32, Kept::i8_rows};
INSTANTIATE_TEST_SUITE_P(Isas, SsdReplay, supported_isas(), isa_name);

/// What tokens leave.
struct Outcome {
  std::vector<float> y;
  std::unique_ptr<SsdCase> left;
};

/// In calls that end at `ends` and at the last token.
Outcome cut_at(Context& ctx, const SsdOptions& o, std::vector<std::int64_t> ends) {
  Outcome result{{}, std::make_unique<SsdCase>(o)};
  SsdCase& c = *result.left;
  TestActivation y(kFloat, o.tokens, c.channels, 1.0f, 3);
  ends.push_back(o.tokens);
  std::int64_t begin = 0;
  for (const std::int64_t end : ends) {
    c.run(ctx, y.view, begin, end);
    begin = end;
  }
  EXPECT_TRUE(y.gaps_untouched());
  for (std::int64_t t = 0; t < o.tokens; ++t) {
    result.y.insert(result.y.end(), y.view.f32(t), y.view.f32(t) + c.channels);
  }
  return result;
}

/// As ssd.h says, from the start of a chunk.
Outcome literally(const SsdOptions& o) {
  Outcome result{{}, std::make_unique<SsdCase>(o)};
  SsdCase& c = *result.left;
  result.y.resize(size(o.tokens * c.channels));
  const std::int64_t P = o.head_dim, N = o.states, per_group = o.heads / o.groups;
  const std::int64_t recent = o.tokens % Q, first = o.tokens - recent;
  for (std::int64_t h = 0; h < o.heads; ++h) {
    Head head(c, h);
    for (std::int64_t t = 0; t < o.tokens; t += Q) {
      head.take_chunk(t, std::min(Q, o.tokens - t));
      if (t + Q > o.tokens) continue;
      if (!c.is_dynamic()) {
        std::ranges::copy(head.S, c.state_f32.begin() + h * N * P);
        continue;
      }
      head.round_rows();
      std::ranges::copy(head.q, c.state_i8.begin() + h * N * P);
      std::ranges::copy(head.scale, c.state_scale.begin() + h * P);
    }
    for (std::int64_t i = 0; i < std::ssize(head.y); ++i) {
      result.y[size(i / P * c.channels + h * P + i % P)] = head.y[size(i)];
    }
    for (std::int64_t s = 0; s < recent; ++s) {
      for (std::int64_t p = 0; p < P; ++p) {
        c.recent_dx[size((h * (Q - 1) + s) * P + p)] = head.dx(first + s, p);
      }
      for (std::int64_t n = 0; n < N; ++n) {
        c.recent_B[size((h / per_group * N + n) * Q + s)] = head.B[size((first + s) * N + n)];
      }
      c.recent_decay[size(h * Q + s + 1)] = head.between(first + s, o.tokens - 1);
    }
    if (recent > 0) c.recent_decay[size(h * Q)] = head.between(first - 1, o.tokens - 1);
  }
  return result;
}

std::string text_of(const SsdOptions& o) {
  return fmt::format("{} tokens from {}, {} x {} x {}, {} groups", o.tokens, o.position, o.heads,
                     o.head_dim, o.states, o.groups);
}

TEST_P(SsdReplay, BitsAreThoseOfTheContract) {
  TestContext one(GetParam(), 1), two(GetParam(), 2), five(GetParam(), 5);
  const auto compare = [&](SsdOptions o) {
    for (const Kept kept : kReplayed) {
      o.state = kept;
      const Outcome expected = literally(o);
      for (TestContext* test : {&one, &two, &five}) {
        const Outcome got = cut_at(test->ctx, o, {});
        ASSERT_TRUE(same_bits(got.y, expected.y)) << text_of(o);
        ASSERT_TRUE(got.left->same_state(*expected.left)) << text_of(o);
      }
    }
  };
  for_chunk_shapes(0, compare);
  for (const std::int64_t tokens : {std::int64_t{1}, Q - 1, Q, Q + 1}) {
    compare({.tokens = tokens, .heads = 2, .head_dim = 24, .position = std::int64_t{7} << 32});
  }
}

/// Shapes at any position of a chunk.
template <typename Fn>
void for_each_position(Fn&& fn) {
  for (const Kept kept : kReplayed) {
    for (const std::int64_t head_dim : {1, 7, 16, 24, 64, 100}) {
      for (const std::int64_t position : {std::int64_t{0}, std::int64_t{1}, 3 * Q + 9, Q - 1}) {
        const auto [groups, states] = std::pair{head_dim % 2 ? 3 : 1, head_dim == 64 ? 128 : 13};
        fn(SsdOptions{.tokens = 3 * Q + 5,
                      .heads = 6,
                      .head_dim = head_dim,
                      .groups = groups,
                      .states = states,
                      .state = kept,
                      .position = position});
      }
    }
  }
}

// Random calls from any position, with what was recent there, against one call of the reference.
TEST_P(SsdReplay, CutsThreadsAndInstructionSetsChangeNothing) {
  TestContext reference(Isa::reference, 1);
  TestContext one(GetParam(), 1), two(GetParam(), 2), five(GetParam(), 5);
  Rng rng(77);
  for_each_position([&](const SsdOptions& o) {
    const Outcome whole = cut_at(reference.ctx, o, {});
    for (TestContext* test : {&one, &two, &five}) {
      for (const std::uint64_t longest : {1u, 4u, 20u, 40u}) {
        std::vector<std::int64_t> ends;
        for (std::int64_t end = 0;;) {
          end += 1 + static_cast<std::int64_t>(rng.below(longest));
          if (end >= o.tokens) break;
          ends.push_back(end);
        }
        const Outcome got = cut_at(test->ctx, o, ends);
        ASSERT_TRUE(same_bits(got.y, whole.y)) << text_of(o) << ", cuts of up to " << longest;
        ASSERT_TRUE(got.left->same_state(*whole.left)) << text_of(o);
      }
    }
  });
}

// With a decay of a the errors of all roundings add up to at most (s / 2) / (1 - a^Q), of which
// rounding every token would make (s / 2) / (1 - a).
TEST_P(SsdReplay, Int8IsRoundedOnceInAChunk) {
  TestContext test(GetParam(), 2);
  const double log2_decay = -0.01, a = std::exp2(log2_decay);
  const auto run = [&](Kept kept) {
    const SsdOptions o{.tokens = 60 * Q, .heads = 3, .head_dim = 20, .states = 40, .state = kept};
    auto result = std::make_unique<SsdCase>(o);
    SsdCase& c = *result;
    for (float& v : c.dt.f32) v = 0;
    for (float& v : c.dt_bias) v = 0;
    for (float& v : c.a2) v = static_cast<float>(log2_decay / std::log(2.0));  // softplus(0)
    for (std::int8_t& q : c.state_i8) q = 0;
    for (float& s : c.state_f32) s = 0;
    TestActivation y(kFloat, c.options.tokens, c.channels, 1.0f);
    c.run(test.ctx, y.view);
    return result;
  };
  const auto exact = run(Kept::f32), rounded = run(Kept::i8_rows);
  double squares = 0;
  for (std::size_t i = 0; i < exact->state_f32.size(); ++i) {
    const double error = rounded->value(i, 60 * Q) - exact->state_f32[i], step = rounded->scale(i);
    EXPECT_LT(std::abs(error), 1.5 * 0.5 * step / (1 - std::pow(a, Q)));  // steps change
    squares += error * error / (step * step);
  }
  const double deviation = std::sqrt(squares / static_cast<double>(exact->state_f32.size()));
  const double predicted = std::sqrt(1.0 / 12 / (1 - std::pow(a, 2 * Q)));
  EXPECT_NEAR(deviation, predicted, 0.15 * predicted);
}

TEST_P(SsdReplay, TheZeroStateStaysZeroWithoutInputs) {
  TestContext test(GetParam());
  SsdCase c({.tokens = 2 * Q, .heads = 2, .head_dim = 17, .state = Kept::i8_rows});
  for (float& v : c.x.f32) v = 0;
  for (std::int8_t& q : c.state_i8) q = 0;
  for (float& s : c.state_scale) s = 0;
  TestActivation y(kFloat, c.options.tokens, c.channels, 1.0f);
  c.run(test.ctx, y.view);
  for (std::int64_t t = 0; t < 2 * Q; ++t) {
    for (std::int64_t i = 0; i < c.channels; ++i) EXPECT_EQ(y.view.f32(t)[i], 0);
  }
  for (const std::int8_t q : c.state_i8) EXPECT_EQ(q, 0);
  for (const float s : c.state_scale) EXPECT_EQ(s, 1e-30f / 127);
}

}  // namespace
}  // namespace krait
