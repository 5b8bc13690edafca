#include "eval/drift.h"

#include <gtest/gtest.h>

#include <cmath>

#include "eval/bootstrap.h"
#include "eval/divergence.h"
#include "io/test_support.h"
#include "quant/quantize_to_memory.h"
#include "runtime/softmax.h"
#include "runtime/test_support.h"

namespace krait {
namespace {

Engine tiny(const std::string& recipe, int threads = 2) {
  const TestCheckpoint checkpoint = tiny_mamba();
  ThreadPool pool(1);
  QuantizedModel made =
      quantize_to_memory(checkpoint.config, *checkpoint.source(), load_recipe(recipe), pool);
  return make_engine({made.config, Json(), made.tensors, std::nullopt}, {.threads = threads});
}

const DriftOptions kSmall{.prompts = 3, .prompt_tokens = 5, .generated = 20, .read = 40};

TEST(Drift, AModelStaysWithItself) {
  const DriftResult result = drift(tiny("f32"), tiny("f32", 1), random_ids(1, 100, 61), kSmall);
  EXPECT_EQ(result.agreed, (std::vector<double>{20, 20, 20}));
  EXPECT_EQ(result.unchanged, 1);
  ASSERT_EQ(result.bins.size(), 3u);  // 1 to 15, 16 to 31, 32 to 39 tokens read
  for (const DriftBin& bin : result.bins) {
    EXPECT_EQ(bin.kl.value, 0);
    EXPECT_EQ(bin.agreement.value, 1);
  }
}

/// The first position where greedy continuations part, one sequence at a time.
double parted(const Engine& a, const Engine& b, std::span<const std::int32_t> prompt, int tokens) {
  Session one = a.new_session(), two = b.new_session();
  one.prefill(prompt);
  two.prefill(prompt);
  for (int t = 0; t < tokens; ++t) {
    const auto x = static_cast<std::int32_t>(argmax(one.logits()));
    const auto y = static_cast<std::int32_t>(argmax(two.logits()));
    if (x != y) return t;
    one.decode(x);
    two.decode(y);
  }
  return tokens;
}

TEST(Drift, IsWhatGenerationAndComparisonSay) {
  const Engine reference = tiny("f32"), model = tiny("static-w8a8");
  const std::vector<std::int32_t> ids = random_ids(1, 100, 61);
  const DriftResult result = drift(reference, model, ids, kSmall);
  double unchanged = 0;
  for (std::size_t i = 0; i < 3; ++i) {  // at 0, 30 and 60
    const double expected = parted(reference, model, std::span(ids).subspan(30 * i, 5), 20);
    EXPECT_EQ(result.agreed[i], expected) << i;
    unchanged += expected == 20;
  }
  EXPECT_DOUBLE_EQ(result.unchanged, unchanged / 3);

  // The bins together are the windows of compare(), weighted by their tokens.
  double kl = 0, difference = 0, agreement = 0;
  for (const DriftBin& bin : result.bins) {
    const auto tokens = static_cast<double>(std::min<std::int64_t>(bin.end, 40) - bin.begin) / 39;
    kl += tokens * bin.kl.value;
    difference += tokens * bin.nll_difference.value;
    agreement += tokens * bin.agreement.value;
    EXPECT_GT(bin.kl.error, 0);
  }
  double kl_expected = 0, difference_expected = 0, agreement_expected = 0;
  for (std::size_t i = 0; i < 3; ++i) {
    const DivergenceResult window =
        compare(reference, model, std::span(ids).subspan(30 * i, 40), 1, 40);
    kl_expected += window.kl_mean / 3;
    difference_expected += window.nll_difference / 3;
    agreement_expected += window.top1_agreement / 3;
  }
  EXPECT_NEAR(kl, kl_expected, 1e-12);
  EXPECT_NEAR(difference, difference_expected, 1e-12);
  EXPECT_NEAR(agreement, agreement_expected, 1e-12);
  EXPECT_GT(kl, 1e-6);
}

TEST(Drift, QuartilesAndShortTexts) {
  const Engine reference = tiny("f32"), model = tiny("static-w8a8");
  const std::vector<std::int32_t> ids = random_ids(1, 30, 61);
  const DriftResult result = drift(reference, model, ids, {.prompts = 1, .prompt_tokens = 4});
  ASSERT_EQ(result.agreed.size(), 1u);
  EXPECT_EQ(result.agreed_median, result.agreed[0]);
  EXPECT_EQ(result.agreed_low, result.agreed_high);
  EXPECT_EQ(result.bins.back().begin, 16);
  expect_error([&] { drift(reference, model, std::span(ids).first(5), {.prompt_tokens = 4}); },
               ErrorCode::invalid_argument, {"at least 6 tokens", "5"});
  expect_error([&] { drift(reference, model, ids, {.prompts = 0}); }, ErrorCode::invalid_argument,
               {"1 prompt"});
}

TEST(Bootstrap, CoversTheMeanOfIndependentValues) {
  int covered = 0;
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    Rng rng(seed);
    std::vector<double> values(400);
    for (double& x : values) x = rng.uniform();
    const Interval interval = bootstrap_interval(values, 4);
    covered += interval.low < 0.5 && 0.5 < interval.high;
  }
  EXPECT_GE(covered, 87);  // 95 expected; fewer than 87 has a chance below 1 in 1,000
  EXPECT_LE(covered, 99);
}

TEST(Bootstrap, StudentsQuantilesFallToTheNormalOne) {
  EXPECT_EQ(student95(2), 12.706);
  EXPECT_EQ(student95(8), 2.365);
  EXPECT_EQ(student95(30), 2.045);
  EXPECT_NEAR(student95(1000), 1.96, 1e-3);
  EXPECT_TRUE(std::isinf(student95(1)));
}

TEST(Bootstrap, SeesThatNeighboursAreAlike) {
  Rng rng(3);
  std::vector<double> values;
  for (int i = 0; i < 50; ++i) values.insert(values.end(), 20, rng.uniform());
  const Interval alone = bootstrap_interval(values, 1), blocks = bootstrap_interval(values, 20);
  EXPECT_GT(blocks.high - blocks.low, 3 * (alone.high - alone.low));  // sqrt(20) = 4.5
  const std::vector<double> few = {1, 3};
  EXPECT_EQ(bootstrap_interval(few, 2).low, 2);
  EXPECT_EQ(bootstrap_interval(few, 2).high, 2);
  EXPECT_EQ(bootstrap_interval(values, 20).low, blocks.low);
}

}  // namespace
}  // namespace krait
