#include "runtime/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "krait/error.h"

namespace krait {
namespace {

/// Nothing filtered, nothing scaled.
GenerateOptions plain() {
  GenerateOptions options;
  options.temperature = 1;
  options.top_k = 0;
  options.top_p = 1;
  options.min_p = 0;
  return options;
}

/// Logits of given probabilities.
std::vector<float> logits_of(std::initializer_list<double> probabilities) {
  std::vector<float> logits;
  for (const double p : probabilities) logits.push_back(static_cast<float>(std::log(p)));
  return logits;
}

std::vector<std::int32_t> kept(const GenerateOptions& options, std::span<const float> logits,
                               std::span<const std::int32_t> history = {}) {
  Sampler sampler(options, static_cast<std::int64_t>(logits.size()));
  std::vector<std::int32_t> ids;
  for (const Candidate& c : sampler.candidates(logits, history)) ids.push_back(c.id);
  return ids;
}

using Ids = std::vector<std::int32_t>;

TEST(Sampler, DrawsFromTheDistribution) {
  const std::vector<float> logits = logits_of({0.5, 0.2, 0.3});
  for (const double temperature : {1.0, 0.5}) {
    GenerateOptions options = plain();
    options.temperature = static_cast<float>(temperature);
    Sampler sampler(options, 3);
    Rng rng(7);
    constexpr int kDraws = 20000;
    int counts[3] = {};
    for (int i = 0; i < kDraws; ++i) ++counts[sampler.sample(logits, {}, rng)];
    const double weights[] = {std::pow(0.5, 1 / temperature), std::pow(0.2, 1 / temperature),
                              std::pow(0.3, 1 / temperature)};
    const double total = weights[0] + weights[1] + weights[2];
    double chi_squared = 0;
    for (int i = 0; i < 3; ++i) {
      const double expected = kDraws * weights[i] / total;
      chi_squared += std::pow(counts[i] - expected, 2) / expected;
    }
    EXPECT_LT(chi_squared, 13.8);  // 2 degrees of freedom: exceeded once in a thousand seeds
  }
}

TEST(Sampler, SameSeedSameTokens) {
  const std::vector<float> logits = logits_of({0.1, 0.2, 0.3, 0.25, 0.15});
  const auto draw = [&](std::uint64_t seed) {
    Sampler sampler(plain(), 5);
    Rng rng(seed);
    Ids ids;
    for (int i = 0; i < 50; ++i) ids.push_back(sampler.sample(logits, {}, rng));
    return ids;
  };
  EXPECT_EQ(draw(1), draw(1));
  EXPECT_NE(draw(1), draw(2));
}

TEST(Sampler, TemperatureZeroTakesTheBestAndTheFirstOfEquals) {
  GenerateOptions options = plain();
  options.temperature = 0;
  EXPECT_EQ(kept(options, std::vector<float>{1, 3, 3, 2}), Ids{1});
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(kept(options, std::vector<float>{nan, -5, nan}), Ids{1});
}

TEST(Sampler, NeverSamplesPadding) {
  GenerateOptions options = plain();
  Rng rng(1);
  for (const float temperature : {0.0f, 1.0f}) {
    options.temperature = temperature;
    Sampler sampler(options, 2);
    const std::vector<float> logits{0, 1, 100};
    for (int i = 0; i < 20; ++i) EXPECT_LT(sampler.sample(logits, {}, rng), 2);
  }
}

TEST(Sampler, TopKKeepsTheBest) {
  const std::vector<float> logits{1, 5, 3, 3, 4};
  GenerateOptions options = plain();
  EXPECT_EQ(kept(options, logits), (Ids{0, 1, 2, 3, 4}));
  options.top_k = 3;
  EXPECT_EQ(kept(options, logits), (Ids{1, 2, 4}));
  options.top_k = 1;
  EXPECT_EQ(kept(options, logits), Ids{1});
  options.top_k = 100;
  EXPECT_EQ(kept(options, logits).size(), 5u);
}

TEST(Sampler, TopPKeepsTheSmallestSufficientSet) {
  const std::vector<float> logits = logits_of({0.15, 0.5, 0.05, 0.3});
  GenerateOptions options = plain();
  options.top_p = 0.45f;
  EXPECT_EQ(kept(options, logits), Ids{1});
  options.top_p = 0.55f;
  EXPECT_EQ(kept(options, logits), (Ids{1, 3}));
  options.top_p = 0.9f;
  EXPECT_EQ(kept(options, logits), (Ids{0, 1, 3}));
  options.top_p = 1e-6f;
  EXPECT_EQ(kept(options, logits), Ids{1});
  // After top-k the probabilities are those of what is left: 0.625 and 0.375.
  options.top_k = 2;
  options.top_p = 0.6f;
  EXPECT_EQ(kept(options, logits), Ids{1});
}

TEST(Sampler, MinPIsRelativeToTheBest) {
  const std::vector<float> logits = logits_of({0.15, 0.5, 0.05, 0.3});
  GenerateOptions options = plain();
  options.min_p = 0.2f;
  EXPECT_EQ(kept(options, logits), (Ids{0, 1, 3}));
  options.min_p = 0.5f;
  EXPECT_EQ(kept(options, logits), (Ids{1, 3}));
  options.min_p = 1;
  EXPECT_EQ(kept(options, logits), Ids{1});
}

TEST(Sampler, RepeatPenaltyDividesPositiveAndMultipliesNegativeLogits) {
  GenerateOptions options = plain();
  options.repeat_penalty = 2;
  options.repeat_last_n = 3;
  Sampler sampler(options, 4);
  const std::vector<float> logits{4, -4, 4, -4};
  const Ids history{2, 3, 0, 1, 0, 9999};  // the last three: 1, 0 and an id that is no candidate
  const auto candidates = sampler.candidates(logits, history);
  EXPECT_EQ(candidates[0].logit, 2);
  EXPECT_EQ(candidates[1].logit, -8);
  EXPECT_EQ(candidates[2].logit, 4);
  EXPECT_EQ(candidates[3].logit, -4);
  options.repeat_last_n = 0;
  EXPECT_EQ(Sampler(options, 4).candidates(logits, history)[0].logit, 4);
  options = plain();
  options.temperature = 0;
  options.repeat_penalty = 3;
  EXPECT_EQ(kept(options, std::vector<float>{4, 2}, Ids{0}), Ids{1});
}

TEST(Sampler, RefusesImpossibleOptions) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const auto message = [](auto change) -> std::string {
    GenerateOptions options;
    change(options);
    try {
      check_options(options);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(message([](GenerateOptions&) {}), "");
  EXPECT_EQ(message([](auto& o) { o.max_tokens = -1; }), "max_tokens must be at least 0, got -1");
  EXPECT_EQ(message([](auto& o) { o.temperature = -0.5f; }),
            "temperature must be at least 0, got -0.5");
  EXPECT_EQ(message([&](auto& o) { o.temperature = nan; }),
            "temperature must be at least 0, got nan");
  EXPECT_EQ(message([](auto& o) { o.top_k = -1; }), "top_k must be at least 0 (0: off), got -1");
  EXPECT_NE(message([](auto& o) { o.top_p = 0; }).find("top_p"), std::string::npos);
  EXPECT_NE(message([](auto& o) { o.top_p = 1.5f; }).find("top_p"), std::string::npos);
  EXPECT_NE(message([](auto& o) { o.min_p = -0.1f; }).find("min_p"), std::string::npos);
  EXPECT_NE(message([](auto& o) { o.repeat_penalty = 0; }).find("repeat_penalty"),
            std::string::npos);
  EXPECT_NE(message([](auto& o) { o.repeat_last_n = -1; }).find("repeat_last_n"),
            std::string::npos);
  EXPECT_EQ(message([](auto& o) { o.logprobs = -2; }),
            "logprobs must be at least -1 (-1: none), got -2");
  EXPECT_EQ(message([](auto& o) { o.stop = {"a", ""}; }), "a stop text must not be empty");
}

}  // namespace
}  // namespace krait
