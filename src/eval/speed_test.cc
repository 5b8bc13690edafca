#include "eval/speed.h"

#include <gtest/gtest.h>

#include "eval/prompt_beside.h"
#include "runtime/test_support.h"

namespace krait {
namespace {

Engine engine_of(const TestCheckpoint& checkpoint) {
  return make_engine({checkpoint.config, Json(), checkpoint.source(), std::nullopt},
                     {.threads = 2});
}

TEST(Speed, TestsAreCalledAsLlamaBenchDoes) {
  EXPECT_EQ((SpeedTest{.tokens = 512}.name()), "pp512");
  EXPECT_EQ((SpeedTest{.tokens = 128, .decode = true}.name()), "tg128");
  EXPECT_EQ((SpeedTest{128, true, 8, 4096}.name()), "tg128 x8 @ d4096");
}

TEST(Speed, EveryTestIsRepeated) {
  const Engine engine = engine_of(tiny_mamba());
  const SpeedTest tests[] = {{.tokens = 20}, {3, true, 2, 0}};
  int updates = 0;
  const SpeedReport report =
      measure_speed(engine, tests, 3, false, [&](const Progress&) { ++updates; });
  EXPECT_EQ(updates, 6);
  EXPECT_TRUE(report.peaks.empty());
  ASSERT_EQ(report.results.size(), 2u);
  for (const SpeedResult& result : report.results) {
    EXPECT_EQ(result.rates.size(), 3u);
    for (const double rate : result.rates) EXPECT_GT(rate, 0);
    EXPECT_TRUE(result.fractions.empty());
    EXPECT_EQ(result.state_bytes, model_of(engine).state_layout()->bytes);
  }
  EXPECT_EQ(report.results[0].bytes_per_step, 0);
  EXPECT_EQ(report.results[1].bytes_per_step,
            step_bytes(model_of(engine).weight_bytes(), *model_of(engine).state_layout(), 2, 2));
}

TEST(Speed, RepeatsAreHeldAgainstTheMachineAroundThem) {
  const Engine engine = engine_of(tiny_mamba());
  const SpeedTest tests[] = {{.tokens = 20}, {.tokens = 3, .decode = true}};
  const SpeedReport report = measure_speed(engine, tests, 2, true);
  EXPECT_EQ(report.peaks.size(), 5u);
  for (const SpeedResult& result : report.results) {
    EXPECT_FALSE(result.bound.empty());
    EXPECT_EQ(result.fractions.size(), 2u);
    for (const double fraction : result.fractions) EXPECT_GT(fraction, 0);
  }
}

TEST(PromptBeside, TellsWhatBothDo) {
  const Engine engine = engine_of(tiny_mamba());
  const PromptBeside told = measure_prompt_beside(engine, 1500, 3);
  EXPECT_EQ(told.tokens, 1500);
  EXPECT_EQ(told.sequences, 3);
  for (const double value : {told.alone, told.beside, told.median_gap, told.gap_without}) {
    EXPECT_GT(value, 0);
  }
  EXPECT_GE(told.longest_gap, told.median_gap);
}

TEST(Speed, AStepReadsWeightsStatesAndRows) {
  StateLayout layout;
  layout.add("h", 0, DType::f32, {10});  // read and written: 80 bytes
  layout.add_per_token("k", 0, DType::f16, {8});
  EXPECT_EQ(step_bytes(1000, layout, 0), 1000 + 80 + 16);
  EXPECT_EQ(step_bytes(1000, layout, 99, 3), 1000 + 3 * (80 + 100 * 16));
}

}  // namespace
}  // namespace krait
