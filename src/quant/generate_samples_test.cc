#include "quant/generate_samples.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "io/test_support.h"
#include "models/test_support.h"

namespace krait {
namespace {

struct Generator {
  explicit Generator(const TestCheckpoint& made, int threads = 1)
      : runtime(Isa::reference, threads),
        source(made.source()),
        model(load_model(runtime.ctx, made.config, *source)) {}
  CalibrationData run(int samples, int seq_len, std::uint64_t seed) {
    return generate_samples(runtime.ctx, *model, 7, samples, seq_len, seed, {});
  }
  TestRuntime runtime;
  std::shared_ptr<TensorSource> source;
  std::unique_ptr<Model> model;
};

TEST(GenerateSamples, DependOnSeedAndIndexAlone) {
  const TestCheckpoint made = tiny_mamba();
  const CalibrationData data = Generator(made).run(70, 9, 3);  // more than one batch
  ASSERT_EQ(data.samples.size(), 70u);
  EXPECT_EQ(data.tokens(), 70 * 9);
  for (const auto& sample : data.samples) {
    ASSERT_EQ(sample.size(), 9u);
    EXPECT_EQ(sample.front(), 7);
    for (const TokenId id : sample) EXPECT_TRUE(id >= 0 && id < 61);
  }
  EXPECT_NE(data.samples[0], data.samples[1]);
  const CalibrationData again = Generator(made, 3).run(70, 9, 3);
  EXPECT_EQ(again.samples, data.samples);
  EXPECT_EQ(again.hash, data.hash);
  const CalibrationData fewer = Generator(made).run(66, 5, 3);
  for (std::size_t i = 0; i < fewer.samples.size(); ++i) {
    EXPECT_TRUE(
        std::equal(fewer.samples[i].begin(), fewer.samples[i].end(), data.samples[i].begin()));
  }
  EXPECT_NE(fewer.hash, data.hash);
  EXPECT_NE(Generator(made).run(70, 9, 4).samples, data.samples);
  EXPECT_EQ(Generator(made).run(2, 1, 3).samples, (std::vector<std::vector<TokenId>>(2, {7})));
}

TEST(GenerateSamples, FollowTheModelsDistribution) {
  Generator generator(tiny_mamba());
  SequenceState state(generator.model->state_layout());
  const std::vector<std::int32_t> first = {7};
  const std::vector<float> logits =
      all_logits(generator.runtime.ctx, *generator.model, first, state);
  double total = 0;
  for (const float l : logits) total += std::exp(static_cast<double>(l));
  const int draws = 4000;
  std::vector<int> counts(logits.size());
  for (const auto& sample : generator.run(draws, 2, 1).samples)
    ++counts[static_cast<std::size_t>(sample[1])];
  for (std::size_t i = 0; i < counts.size(); ++i) {
    const double p = std::exp(static_cast<double>(logits[i])) / total;
    const double deviation = std::sqrt(p * (1 - p) / draws);
    EXPECT_NEAR(counts[i] / static_cast<double>(draws), p, 5 * deviation + 1e-3) << i;
  }
}

TEST(GenerateSamples, NeverDrawPadding) {
  TestCheckpoint made = tiny_mamba();
  made.config["vocab_size"] = 5;
  for (const auto& sample : Generator(made).run(20, 10, 1).samples) {
    for (std::size_t t = 1; t < sample.size(); ++t) EXPECT_LT(sample[t], 5);
  }
}

TEST(GenerateSamples, RefuseLogitsThatAreNotFinite) {
  TestCheckpoint made = tiny_mamba();
  for (float& w : made.tensors.at("backbone.norm_f.weight").mutable_as<float>()) w = 3e38f;
  expect_error([&] { Generator(made).run(2, 4, 1); }, ErrorCode::bad_data,
               {"logits are NaN or infinite"});
}

TEST(DocumentToken, IsWhatTheConfigSays) {
  EXPECT_EQ(document_token({{"bos_token_id", 3}, {"eos_token_id", 4}}, 9), 3);
  EXPECT_EQ(document_token({{"bos_token_id", nullptr}, {"eos_token_id", 4}}, 9), 4);
  EXPECT_EQ(document_token(Json::object(), 9), 0);
  expect_error(
      [] {
        document_token({{"eos_token_id", 9}}, 9);
      },
      ErrorCode::bad_data, {"eos_token_id must be below the 9 rows", "got 9"});
}

}  // namespace
}  // namespace krait
