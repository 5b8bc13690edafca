#include "runtime/scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <thread>

#include "io/test_support.h"
#include "krait/error.h"
#include "runtime/test_support.h"

namespace krait {
namespace {

using Ids = std::vector<std::int32_t>;

GenerateOptions options_of(int max_tokens, std::uint64_t seed = 1) {
  GenerateOptions options;
  options.max_tokens = max_tokens;
  options.seed = seed;
  options.ignore_eos = true;
  return options;
}

/// An engine, a scheduler, and what the requests got.
struct Served {
  Engine engine;
  Scheduler scheduler;
  std::map<std::uint64_t, Ids> tokens = {};
  std::map<std::uint64_t, FinishReason> ends = {};
  std::vector<std::uint64_t> order = {};  // of ends
  std::map<std::uint64_t, std::string> errors = {};

  explicit Served(const Engine& with, const SchedulerOptions& options = {})
      : engine(with), scheduler(EngineAccess::model(with), options) {}
  Sequence sequence() const {
    const LoadedModel& model = *EngineAccess::model(engine);
    return new_sequence(model.executor.model().state_layout(),
                        model.tokenizer ? &*model.tokenizer : nullptr);
  }
  std::size_t step() {
    const std::vector<Event> events = scheduler.step();
    for (const Event& event : events) {
      if (event.token) {
        tokens[event.request].push_back(event.token->id);
        continue;
      }
      ends[event.request] = event.finish;
      order.push_back(event.request);
      if (event.error) errors[event.request] = event.error->what();
    }
    return events.size();
  }
  void run() {
    while (!scheduler.idle()) step();
  }
};

TEST(Scheduler, DecodingNeverWaitsForAPrompt) {
  Served served(byte_engine({.threads = 2}), {.step_tokens = 16});
  Sequence talking = served.sequence(), reading = served.sequence();
  const auto first = served.scheduler.submit(talking, Ids{1, 2, 3}, options_of(50));
  served.step();
  ASSERT_EQ(served.tokens[first].size(), 1u);
  const auto second = served.scheduler.submit(reading, random_ids(1, 200, 257), options_of(2));
  std::size_t steps = 0;
  while (served.tokens[second].empty()) {
    served.step();
    ++steps;
    EXPECT_EQ(served.tokens[first].size(), 1 + steps);
    EXPECT_EQ(reading.state.position(),
              std::min<std::int64_t>(200, 16 * std::ssize(served.tokens[first]) - 16));
  }
  EXPECT_EQ(steps, 13u);  // 200 tokens by 16
  served.run();
  EXPECT_EQ(served.tokens[first].size(), 50u);
  EXPECT_EQ(served.ends[second], FinishReason::length);
  EXPECT_EQ(served.order, (std::vector<std::uint64_t>{second, first}));
}

TEST(Scheduler, PromptsAreReadInTheOrderOfArrival) {
  Served served(byte_engine(), {.step_tokens = 16});
  Sequence a = served.sequence(), b = served.sequence(), c = served.sequence();
  served.scheduler.submit(a, random_ids(1, 24, 257), options_of(1));
  served.scheduler.submit(b, random_ids(2, 24, 257), options_of(1));
  served.scheduler.submit(c, random_ids(3, 24, 257), options_of(1));
  served.step();
  EXPECT_EQ(a.state.position(), 16);
  EXPECT_EQ(b.state.position(), 0);
  served.step();
  EXPECT_EQ(a.state.position(), 24);
  EXPECT_EQ(b.state.position(), 8);
  served.run();
  EXPECT_EQ(served.order, (std::vector<std::uint64_t>{1, 2, 3}));
}

TEST(Scheduler, ASequenceGetsWhatItWouldHaveHadAlone) {
  const Engine engine = byte_engine({.threads = 2});
  std::vector<Ids> alone;
  std::vector<std::string> saved;
  for (const bool together : {false, true}) {
    Served served(engine, {.step_tokens = 16});
    std::vector<Sequence> sequences(5, served.sequence());
    for (std::size_t i = 0; i < 5; ++i) {
      const auto request = served.scheduler.submit(
          sequences[i], random_ids(i, 1 + 37 * static_cast<std::int64_t>(i), 257),
          options_of(static_cast<int>(20 - 3 * i), i));
      if (together) continue;
      served.run();
      alone.push_back(served.tokens[request]);
      saved.push_back(sequences[i].save());
    }
    if (!together) continue;
    served.run();
    for (std::size_t i = 0; i < 5; ++i) {
      EXPECT_EQ(served.tokens[i + 1], alone[i]) << i;
      EXPECT_EQ(sequences[i].save(), saved[i]) << i;
    }
  }
}

TEST(Scheduler, WaitsForMemoryAndRefusesWhatNeverFits) {
  const Engine engine = byte_engine();
  const std::size_t one = model_of(engine).state_layout()->bytes;
  Served served(engine, {.memory = 2 * one, .waiting = 3});
  std::vector<Sequence> sequences(4, served.sequence());
  for (std::size_t i = 0; i < 3; ++i) {
    served.scheduler.submit(sequences[i], Ids{1, 2}, options_of(i == 0 ? 8 : 3));
  }
  expect_error([&] { served.scheduler.submit(sequences[3], Ids{1}, options_of(1)); },
               ErrorCode::busy, {"3 requests wait already"});
  served.step();
  EXPECT_EQ(sequences[1].state.position(), 2);
  EXPECT_EQ(sequences[2].state.position(), 0);  // waits for one of the two
  served.scheduler.submit(sequences[3], Ids{1}, options_of(1));
  served.run();
  EXPECT_EQ(served.order, (std::vector<std::uint64_t>{2, 3, 1, 4}));

  Served none(engine, {.memory = one - 1});
  expect_error([&] { none.scheduler.submit(sequences[3], Ids{1}, options_of(1)); },
               ErrorCode::out_of_memory, {std::to_string(one)});
}

TEST(Scheduler, RefusesRequestsThatMakeNoSense) {
  Served served(byte_engine());
  Sequence sequence = served.sequence();
  GenerateOptions bad = options_of(1);
  bad.top_p = 7;
  expect_error([&] { served.scheduler.submit(sequence, Ids{1}, bad); }, ErrorCode::invalid_argument,
               {"top_p"});
  expect_error([&] { served.scheduler.submit(sequence, Ids{264}, options_of(1)); },
               ErrorCode::invalid_argument, {"264"});
  expect_error([&] { served.scheduler.submit(sequence, {}, options_of(1)); },
               ErrorCode::invalid_argument, {"nothing before it"});
  EXPECT_TRUE(served.scheduler.idle());
  EXPECT_EQ(served.step(), 0u);
}

TEST(Scheduler, CancelsWhatWaitsReadsOrWrites) {
  const Engine engine = byte_engine();
  Served served(engine, {.step_tokens = 16, .memory = 2 * model_of(engine).state_layout()->bytes});
  Sequence writing = served.sequence(), reading = served.sequence(), waiting = served.sequence();
  const auto a = served.scheduler.submit(writing, Ids{1, 2}, options_of(100));
  served.step();
  const auto b = served.scheduler.submit(reading, random_ids(1, 100, 257), options_of(100));
  const auto c = served.scheduler.submit(waiting, Ids{1, 2}, options_of(100));
  served.step();
  for (const auto request : {a, b, c, std::uint64_t{99}}) served.scheduler.cancel(request);
  served.run();
  EXPECT_EQ(served.ends.size(), 3u);
  for (const auto& [request, end] : served.ends) EXPECT_EQ(end, FinishReason::cancelled) << request;
  EXPECT_TRUE(served.scheduler.idle());
  EXPECT_EQ(writing.state.position(), 2 + std::ssize(served.tokens[a]));
  EXPECT_EQ(reading.state.position(), 16);
  EXPECT_EQ(std::ssize(reading.history), 16);
  EXPECT_TRUE(reading.logits.empty());
  EXPECT_EQ(waiting.state.position(), 0);
}

TEST(Scheduler, ARequestFailsAlone) {
  TestCheckpoint checkpoint = tiny_mamba({.tied = false});
  // Every logit is infinite, but at first only one of the two asks for any.
  for (float& weight : checkpoint.tensors.at("lm_head.weight").mutable_as<float>()) weight = 3e38f;
  const Engine engine = make_engine({.config = checkpoint.config,
                                     .generation_config = {},
                                     .tensors = checkpoint.source(),
                                     .tokenizer = std::nullopt},
                                    {.threads = 1});
  Served served(engine, {.step_tokens = 16});
  Sequence bad = served.sequence(), silent = served.sequence();
  const auto a = served.scheduler.submit(bad, Ids{5}, options_of(3));
  const auto b = served.scheduler.submit(silent, random_ids(1, 40, 61), options_of(3));
  served.step();
  EXPECT_NE(served.errors[a].find("NaN or infinite after the token at position 0"),
            std::string::npos);
  EXPECT_FALSE(served.ends.contains(b));
  EXPECT_TRUE(bad.logits.empty());
  EXPECT_EQ(silent.state.position(), 15);
  served.run();
  EXPECT_TRUE(served.errors.contains(b));
  EXPECT_TRUE(served.scheduler.idle());
}

TEST(Scheduler, TakesRequestsFromOtherThreads) {
  Served served(byte_engine());
  std::vector<Sequence> sequences(8, served.sequence());
  std::vector<std::jthread> threads;
  for (std::size_t i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] {
      served.scheduler.submit(sequences[i], Ids{static_cast<std::int32_t>(i)}, options_of(5));
    });
  }
  while (served.ends.size() < 8) {
    served.scheduler.wait(std::chrono::milliseconds(1000));
    served.step();
  }
  for (const Sequence& sequence : sequences) EXPECT_EQ(sequence.state.position(), 6);
}

TEST(PromptBudget, FollowsTheTimeOfAStep) {
  PromptBudget budget(0.2, 512);
  EXPECT_EQ(budget.tokens(0), 512);  // nobody waits
  EXPECT_EQ(budget.tokens(4), 28);   // a guess
  budget.measured(40, 0.04);         // a millisecond each
  EXPECT_EQ(budget.tokens(0), 512);
  EXPECT_EQ(budget.tokens(8), 192);
  budget.measured(100, 0.15);  // slower: at once
  EXPECT_EQ(budget.tokens(8), 125);
  budget.measured(100, 3);  // a hiccup counts twice at most
  EXPECT_EQ(budget.tokens(8), 58);
  for (int i = 0; i < 30; ++i) budget.measured(100, 0.01);  // faster: by and by
  EXPECT_EQ(budget.tokens(8), 512);
  for (int i = 0; i < 9; ++i) budget.measured(16, 10);
  EXPECT_EQ(budget.tokens(100), 16);  // a prompt always gets on
}

// A machine where a pass takes so long and each token so much longer.
TEST(PromptBudget, SettlesWhereAStepTakesWhatItShould) {
  for (const auto& [pass, token] : {std::pair(0.1, 0.005), {0.01, 0.0003}, {0.05, 0.002}}) {
    PromptBudget budget(0.25, 512);
    double taken = 0;
    for (int step = 0; step < 40; ++step) {
      const std::int64_t tokens = 8 + budget.tokens(8);
      taken = pass + token * static_cast<double>(tokens);
      budget.measured(tokens, taken);
      if (step > 0) {
        EXPECT_LT(taken, 0.3) << step;
      }
    }
    if (budget.tokens(8) < 512) {
      EXPECT_NEAR(taken, 0.25, 0.02);
    }
  }
}

}  // namespace
}  // namespace krait
