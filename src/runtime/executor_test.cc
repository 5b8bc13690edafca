#include "runtime/executor.h"

#include <gtest/gtest.h>

#include <cstring>
#include <thread>

#include "io/test_support.h"
#include "krait/error.h"
#include "runtime/test_support.h"

namespace krait {
namespace {

using Ids = std::vector<std::int32_t>;

Engine engine_of(const TestCheckpoint& checkpoint, int threads = 2) {
  return make_engine({.config = checkpoint.config,
                      .generation_config = {},
                      .tensors = checkpoint.source(),
                      .tokenizer = std::nullopt},
                     {.threads = threads});
}

constexpr std::size_t kVocab = 61;

// A prompt's beginning, a prompt's end, one token each of two texts, and a sequence that rests.
TEST(Executor, MixesPromptsAndDecodingInOnePass) {
  const Engine engine = engine_of(tiny_mamba());
  Executor& executor = executor_of(engine);
  const Ids ids = random_ids(1, 40, kVocab);
  const std::vector<Ids> parts = {
      {ids.begin(), ids.begin() + 17}, {ids.begin(), ids.begin() + 5}, {7}, {9}, {}};
  const LogitRows rows[] = {LogitRows::none, LogitRows::all, LogitRows::last, LogitRows::last,
                            LogitRows::last};
  std::vector<SequenceState> together, alone;
  for (std::uint64_t s = 0; s < parts.size(); ++s) {
    together.push_back(executor.new_state());
    executor.read(random_ids(s + 2, static_cast<std::int64_t>(3 * s), kVocab), together.back());
    alone.push_back(together.back());
  }
  // In a row, and in places of their own.
  for (const std::size_t gap : {std::size_t{0}, std::size_t{100}}) {
    std::vector<SequenceState> states = together;
    std::vector<float> logits(2000, -1);
    std::vector<Step> steps;
    std::size_t place = 0;
    std::vector<std::size_t> places;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      places.push_back(place);
      steps.push_back({states[i], parts[i], rows[i], logits.data() + place});
      place += static_cast<std::size_t>(logit_rows(rows[i], std::ssize(parts[i]))) * kVocab + gap;
    }
    executor.run(steps);
    for (std::size_t i = 0; i < parts.size(); ++i) {
      SequenceState own = alone[i];
      const std::vector<float> all = all_logits(engine, parts[i], own);
      const auto count =
          static_cast<std::size_t>(logit_rows(rows[i], std::ssize(parts[i]))) * kVocab;
      EXPECT_TRUE(std::equal(all.end() - static_cast<std::ptrdiff_t>(count), all.end(),
                             logits.begin() + static_cast<std::ptrdiff_t>(places[i])))
          << i;
      if (gap > 0 && i > 0) {
        EXPECT_EQ(logits[places[i] - 1], -1) << i;
      }
      EXPECT_EQ(states[i].serialize(), own.serialize()) << i;
    }
  }
}

TEST(Executor, RefusesWhatCannotBeBeforeAnythingIsRead) {
  const Engine engine = engine_of(tiny_mamba());
  Executor& executor = executor_of(engine);
  SequenceState a = executor.new_state(), b = executor.new_state();
  const Ids good{1, 2}, bad{1, 61};
  const Step outside[] = {{a, good}, {b, bad}}, twice[] = {{a, good}, {a, good}};
  expect_error([&] { executor.run(outside); }, ErrorCode::invalid_argument,
               {"token id 61 at position 1"});
  expect_error([&] { executor.run(twice); }, ErrorCode::invalid_argument, {"twice"});
  Ids late(kPrefillChunk + 5, 1);
  late.back() = -1;
  expect_error([&] { executor.read(late, a); }, ErrorCode::invalid_argument, {"-1", "516"});
  EXPECT_EQ(a.position(), 0);
  EXPECT_EQ(b.position(), 0);
  executor.run({});
}

/// A model whose logits are infinite, though no weight is.
Engine overflowing_engine() {
  TestCheckpoint checkpoint = tiny_mamba();
  Tensor& norm = checkpoint.tensors.at("backbone.norm_f.weight");
  for (float& weight : norm.mutable_as<float>()) weight = 3e38f;
  return engine_of(checkpoint);
}

TEST(Executor, SaysWhichLogitsAreNoNumbers) {
  const Engine engine = overflowing_engine();
  Executor& executor = executor_of(engine);
  SequenceState a = executor.new_state(), b = executor.new_state();
  const Ids ids{1, 2, 3};
  std::vector<float> logits(3 * kVocab);
  executor.read(ids, a);  // nobody looks
  const Step steps[] = {{a, ids}, {b, ids, LogitRows::last, logits.data()}};
  expect_error([&] { executor.run(steps); }, ErrorCode::bad_data,
               {"NaN or infinite after the token at position 2 of sequence 1", "overflow"});
  const Step all[] = {{a, ids, LogitRows::all, logits.data()}};
  const std::vector<Overflow> found = executor.try_run(all);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].position, 6);
  EXPECT_EQ(a.position(), 9);  // the states have advanced
}

TEST(Executor, ASessionWithoutLogitsIsWholeBesides) {
  const Engine engine = overflowing_engine();
  Session a = engine.new_session(), b = engine.new_session();
  Session* both[] = {&a, &b};
  expect_error([&] { a.prefill(Ids{1, 2}); }, ErrorCode::bad_data, {"position 1"});
  expect_error([&] { decode(both, Ids{3, 4}); }, ErrorCode::bad_data, {"position 2 of sequence 0"});
  EXPECT_EQ(a.position(), 3);
  EXPECT_EQ(b.position(), 1);
  for (Session* session : both) {
    EXPECT_TRUE(session->logits().empty());
    EXPECT_EQ(engine.restore(session->save()).save(), session->save());
    EXPECT_EQ(std::ssize(SessionAccess::sequence(*session).history), session->position());
  }
}

TEST(Executor, FindsOneBadNumberAnywhere) {
  // Weights that leave one row of the head infinite: its logit is the only one.
  for (const std::int64_t bad_row : {0, 1, 30, 60}) {
    TestCheckpoint checkpoint = tiny_mamba({.tied = false});
    Tensor& head = checkpoint.tensors.at("lm_head.weight");
    const auto row = head.mutable_as<float>().subspan(static_cast<std::size_t>(bad_row * 20), 20);
    for (std::size_t i = 0; i < row.size(); ++i) row[i] = i % 2 == 0 ? 3.3e38f : -3.3e38f;
    const Engine engine = engine_of(checkpoint, 1);
    SequenceState state = executor_of(engine).new_state();
    const Ids ids = random_ids(5, 20, kVocab);
    std::vector<float> logits(ids.size() * kVocab);
    const Step step{state, ids, LogitRows::all, logits.data()};
    const std::vector<Overflow> found = executor_of(engine).try_run({&step, 1});
    ASSERT_EQ(found.size(), 1u) << bad_row;
    std::size_t first = 0;
    while (std::isfinite(logits[first])) ++first;
    EXPECT_EQ(first % kVocab, static_cast<std::size_t>(bad_row));
    EXPECT_EQ(found[0].position, static_cast<std::int64_t>(first / kVocab));
  }
}

TEST(Executor, ShowsATapOnlyThePassThatItIsGivenTo) {
  struct Counter : Tap {
    void observe(int, const Activation&) override { ++seen; }
    int seen = 0;
  };
  const Engine engine = engine_of(tiny_mamba());
  SequenceState state = executor_of(engine).new_state();
  const Ids ids{1, 2};
  const Step step{state, ids};
  Counter counter;
  executor_of(engine).run({&step, 1}, &counter);
  const int seen = counter.seen;
  EXPECT_GT(seen, 0);
  executor_of(engine).run({&step, 1});
  EXPECT_EQ(counter.seen, seen);
}

TEST(Executor, TakesTurns) {
  const Engine engine = engine_of(tiny_mamba());
  Executor& executor = executor_of(engine);
  const auto last_of = [&](std::uint64_t seed) {
    SequenceState state = executor.new_state();
    std::vector<float> logits(kVocab);
    executor.read(random_ids(seed, 30, kVocab), state);
    executor.read(random_ids(seed, 3, kVocab), state, LogitRows::last, logits.data());
    return logits;
  };
  const std::vector<float> alone[] = {last_of(1), last_of(2), last_of(3)};
  std::vector<float> together[3];
  {
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < 3; ++i) {
      threads.emplace_back([&, i] { together[i] = last_of(i + 1); });
    }
  }
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(together[i], alone[i]) << i;
}

}  // namespace
}  // namespace krait
