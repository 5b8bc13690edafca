#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "eval/divergence.h"
#include "eval/kept_reference.h"
#include "eval/perplexity.h"
#include "eval/windows.h"
#include "io/test_support.h"
#include "models/test_support.h"
#include "quant/quantize_to_memory.h"
#include "runtime/softmax.h"
#include "runtime/test_support.h"

namespace krait {
namespace {

/// 61 ids in 64 rows: the last three are padding.
TinyMamba padded_shape(std::uint64_t seed = 1) { return {.V = 64, .E = 40, .seed = seed}; }

Engine engine_of(TestCheckpoint checkpoint, int threads = 2) {
  checkpoint.config["vocab_size"] = 61;
  return make_engine({checkpoint.config, Json(), checkpoint.source(), std::nullopt},
                     {.threads = threads});
}

Engine quantized_engine(const std::string& recipe, int threads = 2) {
  TestCheckpoint checkpoint = tiny_mamba(padded_shape());
  checkpoint.config["vocab_size"] = 61;
  ThreadPool pool(1);
  QuantizedModel made =
      quantize_to_memory(checkpoint.config, *checkpoint.source(), load_recipe(recipe), pool);
  return make_engine({made.config, Json(), made.tensors, std::nullopt}, {.threads = threads});
}

/// Probabilities over the first `vocab` logits of every row, the plain way in long double.
std::vector<std::vector<long double>> probabilities(const Engine& engine,
                                                    std::span<const std::int32_t> window) {
  SequenceState state = executor_of(engine).new_state();
  const std::vector<float> logits = all_logits(engine, window, state);
  const auto rows = static_cast<std::size_t>(engine.vocab_rows());
  std::vector<std::vector<long double>> result;
  for (std::size_t t = 0; t < window.size(); ++t) {
    std::vector<long double> p;
    for (std::size_t i = 0; i < static_cast<std::size_t>(engine.vocab_size()); ++i) {
      p.push_back(std::exp(static_cast<long double>(logits[t * rows + i])));
    }
    long double sum = 0;
    for (long double x : p) sum += x;
    for (long double& x : p) x /= sum;
    result.push_back(std::move(p));
  }
  return result;
}

struct Naive {
  std::vector<double> nll, kl, difference;
  double agreement = 0;
};

Naive naive_scores(const Engine& reference, const Engine& model, std::span<const std::int32_t> ids,
                   std::size_t seq_len) {
  Naive result;
  for (std::size_t begin = 0; begin + 1 < ids.size(); begin += seq_len) {
    const auto window = ids.subspan(begin, std::min(seq_len, ids.size() - begin));
    const auto p = probabilities(reference, window), q = probabilities(model, window);
    for (std::size_t t = 0; t + 1 < window.size(); ++t) {
      const auto target = static_cast<std::size_t>(window[t + 1]);
      long double kl = 0;
      for (std::size_t i = 0; i < p[t].size(); ++i) kl += p[t][i] * std::log(p[t][i] / q[t][i]);
      result.kl.push_back(static_cast<double>(kl));
      result.nll.push_back(static_cast<double>(-std::log(q[t][target])));
      result.difference.push_back(static_cast<double>(std::log(p[t][target] / q[t][target])));
      result.agreement += std::max_element(p[t].begin(), p[t].end()) - p[t].begin() ==
                          std::max_element(q[t].begin(), q[t].end()) - q[t].begin();
    }
  }
  result.agreement /= static_cast<double>(result.kl.size());
  return result;
}

double naive_mean(const std::vector<double>& values) {
  double sum = 0;
  for (double x : values) sum += x;
  return sum / static_cast<double>(values.size());
}

double naive_error(const std::vector<double>& values) {
  double sum = 0;
  for (double x : values) sum += (x - naive_mean(values)) * (x - naive_mean(values));
  const auto n = static_cast<double>(values.size());
  return std::sqrt(sum / (n - 1) / n);
}

TEST(Perplexity, AgreesWithAPlainComputation) {
  const Engine engine = engine_of(tiny_mamba(padded_shape()));
  const std::vector<std::int32_t> ids = random_ids(3, 101, 61);
  for (std::int64_t seq_len : {2, 7, 25, 50, 100, 101, 2048}) {
    const Naive naive = naive_scores(engine, engine, ids, static_cast<std::size_t>(seq_len));
    const PerplexityResult result = perplexity(engine, ids, 345, seq_len);
    EXPECT_EQ(result.tokens, static_cast<std::int64_t>(naive.nll.size())) << seq_len;
    EXPECT_NEAR(result.nll, naive_mean(naive.nll), 1e-9) << seq_len;
    EXPECT_NEAR(result.nll_error, naive_error(naive.nll), 1e-9) << seq_len;
    EXPECT_NEAR(result.perplexity, std::exp(naive_mean(naive.nll)), 1e-7) << seq_len;
    const double total = naive_mean(naive.nll) * static_cast<double>(naive.nll.size());
    EXPECT_NEAR(result.bits_per_byte, total / std::log(2.0) / 345, 1e-9) << seq_len;
  }
  EXPECT_EQ(perplexity(engine, ids, 0, 50).windows, 2);  // 50, 50 and a lone token
  EXPECT_EQ(perplexity(engine, ids, 0, 33).windows, 4);  // 33, 33, 33, 2
  EXPECT_EQ(perplexity(engine, ids, 0, 50).bits_per_byte, 0);
}

TEST(Perplexity, IgnoresPaddingAndThreads) {
  TestCheckpoint checkpoint = tiny_mamba(padded_shape());
  const std::vector<std::int32_t> ids = random_ids(4, 60, 61);
  const double expected = perplexity(engine_of(checkpoint, 1), ids, 1).nll;
  EXPECT_EQ(perplexity(engine_of(checkpoint, 5), ids, 1).nll, expected);
  // A padded row as likely as can be changes nothing.
  float* table = checkpoint.tensors.at("backbone.embeddings.weight").mutable_as<float>().data();
  for (int i = 61 * 20; i < 64 * 20; ++i) table[i] *= 1000;
  EXPECT_EQ(perplexity(engine_of(checkpoint), ids, 1).nll, expected);
}

TEST(Perplexity, RefusesWhatCannotBeScored) {
  const Engine engine = engine_of(tiny_mamba(padded_shape()));
  const auto refuse = [&](std::vector<std::int32_t> ids, std::int64_t seq_len,
                          std::initializer_list<std::string> parts) {
    expect_error([&] { perplexity(engine, ids, 1, seq_len); }, ErrorCode::invalid_argument, parts);
    expect_error([&] { compare(engine, engine, ids, 1, seq_len); }, ErrorCode::invalid_argument,
                 parts);
  };
  refuse({1, 2, 3}, 1, {"at least 2 tokens", "got 1"});
  refuse({1}, 10, {"at least 2 tokens", "got 1"});
  refuse({}, 10, {"got 0"});
  refuse({1, 61}, 10, {"token id 61 at position 1", "[0, 61)"});
  refuse({-1, 6}, 10, {"token id -1 at position 0"});
}

TEST(Compare, AgreesWithAPlainComputation) {
  const Engine reference = engine_of(tiny_mamba(padded_shape()));
  const Engine model = quantized_engine("krait-w8a8");
  const std::vector<std::int32_t> ids = random_ids(5, 90, 61);
  for (std::int64_t seq_len : {13, 40, 2048}) {
    Naive naive = naive_scores(reference, model, ids, static_cast<std::size_t>(seq_len));
    const DivergenceResult result = compare(reference, model, ids, 200, seq_len);
    EXPECT_NEAR(result.nll_difference, naive_mean(naive.difference), 1e-9);
    EXPECT_NEAR(result.nll_difference_error, naive_error(naive.difference), 1e-9);
    EXPECT_NEAR(result.model.nll, naive_mean(naive.nll), 1e-9);
    EXPECT_EQ(result.model.nll, perplexity(model, ids, 200, seq_len).nll);
    EXPECT_EQ(result.reference.nll, perplexity(reference, ids, 200, seq_len).nll);
    EXPECT_NEAR(result.kl_mean, naive_mean(naive.kl), 1e-9);
    EXPECT_EQ(result.top1_agreement, naive.agreement);
    std::sort(naive.kl.begin(), naive.kl.end());
    const double rank = 0.999 * static_cast<double>(naive.kl.size() - 1);
    const auto below = static_cast<std::size_t>(rank);
    const double p999 = naive.kl[below] + (rank - static_cast<double>(below)) *
                                              (naive.kl[below + 1] - naive.kl[below]);
    EXPECT_NEAR(result.kl_p999, p999, 1e-9);
    EXPECT_NEAR(result.kl_max, naive.kl.back(), 1e-9);
    EXPECT_GT(result.kl_mean, 1e-7);
    EXPECT_LT(result.kl_mean, 0.05);
  }
}

TEST(Compare, AModelAgreesWithItself) {
  const Engine engine = engine_of(tiny_mamba(padded_shape()));
  const DivergenceResult result = compare(engine, engine, random_ids(6, 50, 61), 1, 20);
  EXPECT_EQ(result.nll_difference, 0);
  EXPECT_EQ(result.kl_mean, 0);
  EXPECT_EQ(result.kl_max, 0);
  EXPECT_EQ(result.top1_agreement, 1);
}

/// No window kept, one of them, all.
TEST(KeptReference, AgreesWithCompare) {
  const Engine reference = engine_of(tiny_mamba(padded_shape())),
               model = quantized_engine("krait-w8a8");
  const std::vector<std::int32_t> ids = random_ids(6, 101, 61);
  for (const std::int64_t seq_len : {2, 33, 40}) {
    const double expected = compare(reference, model, ids, 1, seq_len).kl_mean;
    EXPECT_GT(expected, 0);
    for (const std::size_t bytes : {0, 40 * 64 * 4, 1 << 20}) {
      const KeptReference kept(reference, ids, seq_len, bytes);
      EXPECT_EQ(kept.divergence_of(model), expected) << seq_len << " " << bytes;
      EXPECT_EQ(kept.divergence_of(reference), 0);
    }
  }
}

TEST(KeptReference, RefusesWhatCompareRefuses) {
  const Engine reference = engine_of(tiny_mamba(padded_shape()));
  const std::vector<std::int32_t> ids = random_ids(6, 20, 61), foreign = {1, 2, 61};
  expect_error([&] { KeptReference(reference, foreign, 10, 1 << 20); }, ErrorCode::invalid_argument,
               {"61"});
  expect_error([&] { KeptReference(reference, ids, 1, 0); }, ErrorCode::invalid_argument, {"2"});
  TestCheckpoint other = tiny_mamba({.V = 62, .E = 40});
  const KeptReference kept(reference, ids, 10, 1 << 20);
  expect_error([&] { kept.divergence_of(engine_of(other)); }, ErrorCode::invalid_argument,
               {"vocabularies differ"});
}

TEST(Compare, SeesAnotherModelAndRefusesAnotherVocabulary) {
  const Engine engine = engine_of(tiny_mamba(padded_shape()));
  const Engine other = engine_of(tiny_mamba(padded_shape(2)));
  const DivergenceResult result = compare(engine, other, random_ids(6, 50, 61), 1);
  EXPECT_GT(result.kl_mean, 0.1);
  EXPECT_LT(result.top1_agreement, 0.9);
  const TestCheckpoint small = tiny_mamba({.V = 61});
  const Engine unpadded = make_engine({small.config, Json(), small.source(), std::nullopt}, {});
  expect_error([&] { compare(engine, unpadded, random_ids(6, 50, 61), 1); },
               ErrorCode::invalid_argument, {"vocabularies differ", "64", "61"});
}

TEST(Compare, ReportsItsProgress) {
  const Engine engine = engine_of(tiny_mamba(padded_shape()));
  std::vector<std::int64_t> done;
  compare(engine, engine, random_ids(6, 50, 61), 1, 20, [&](const Progress& progress) {
    EXPECT_EQ(progress.total, 50);
    EXPECT_EQ(progress.unit, "tokens");
    done.push_back(progress.done);
  });
  EXPECT_EQ(done, (std::vector<std::int64_t>{0, 20, 40, 50}));
}

TEST(Softmax, IsStableForLargeLogits) {
  const std::vector<float> x = {1e4f, 1e4f, -1e4f}, y = {-1e30f, 0, 3e38f};
  EXPECT_DOUBLE_EQ(log_sum_exp(x), 1e4 + std::log(2.0));
  EXPECT_DOUBLE_EQ(log_sum_exp(y), static_cast<double>(3e38f));
  EXPECT_EQ(kl_divergence(x, log_sum_exp(x), x, log_sum_exp(x)), 0);
  EXPECT_EQ(argmax(x), 0);
  EXPECT_EQ(argmax(y), 2);
}

}  // namespace
}  // namespace krait
