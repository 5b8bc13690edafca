// What must not change a single bit of the logits: how the prompt is cut, the number of threads,
// the instruction set, and who else is in the batch. And the state as a value.
#include <gtest/gtest.h>

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <string>
#include <vector>

#include "io/test_support.h"
#include "kernels/ssd/ssd.h"
#include "models/test_checkpoints.h"

namespace krait {
namespace {

struct Loaded {
  Loaded(const TestCheckpoint& checkpoint, Isa isa, int threads,
         bool guarded = TestRuntime::all_are_guarded())
      : runtime(isa, threads, guarded),
        model(load_model(runtime.ctx, checkpoint.config, *checkpoint.source())) {}
  explicit Loaded(const TestCheckpoint& checkpoint) : Loaded(checkpoint, select_isa(), 2) {}
  SequenceState new_state() const {
    return SequenceState(model->state_layout(), runtime.arena.memory());
  }
  std::vector<float> logits(std::span<const std::int32_t> ids) {
    SequenceState state = new_state();
    return all_logits(runtime.ctx, *model, ids, state);
  }
  TestRuntime runtime;
  std::unique_ptr<Model> model;
};

bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

/// What a text leaves.
struct Outcome {
  std::vector<float> logits;
  std::string state;
  bool operator==(const Outcome& other) const {
    return same_bits(logits, other.logits) && state == other.state;
  }
};

class ModelBits : public testing::TestWithParam<std::string> {
 protected:
  const TestCheckpoint& checkpoint() const { return checkpoint_of(GetParam()); }
  /// The scales do not span tokens.
  bool any_cuts() const { return GetParam().find("dynamic_tensor") == std::string::npos; }
  /// Of all tokens in calls of so many.
  Outcome cut(Loaded& loaded, std::size_t calls) const {
    SequenceState state = loaded.new_state();
    Outcome result;
    for (std::size_t first = 0; first < ids_.size(); first += calls) {
      const auto part = std::span(ids_).subspan(first, std::min(calls, ids_.size() - first));
      const auto rows = all_logits(loaded.runtime.ctx, *loaded.model, part, state);
      result.logits.insert(result.logits.end(), rows.begin(), rows.end());
    }
    result.state = state.serialize();
    return result;
  }
  std::vector<std::int32_t> ids_ = random_ids(5, kTokens, kVocab);
};

TEST_P(ModelBits, ThreadsAndInstructionSetsChangeNothing) {
  const std::vector<float> expected = Loaded(checkpoint(), Isa::reference, 1).logits(ids_);
  for (const Isa isa : all_isas()) {
    if (!cpu_supports(isa)) continue;
    for (const int threads : {1, 2, 5}) {
      EXPECT_TRUE(same_bits(Loaded(checkpoint(), isa, threads).logits(ids_), expected))
          << name_of(isa) << ", " << threads << " threads";
    }
  }
}

TEST_P(ModelBits, CutsChangeNothing) {
  Loaded loaded(checkpoint());
  if (!any_cuts()) {  // then only the same cuts give the same bits
    EXPECT_TRUE(same_bits(loaded.logits(ids_), loaded.logits(ids_)));
    return;
  }
  const Outcome whole = cut(loaded, kTokens);
  for (const std::size_t calls : {1u, 2u, 3u, 7u, 15u, 16u, 17u, 29u, 32u, 44u}) {
    EXPECT_TRUE(cut(loaded, calls) == whole) << "calls of " << calls;
  }
}

// What test_operations.h does not let through would crash.
TEST_P(ModelBits, OnlyOperationsTouchValues) {
  Loaded loaded(checkpoint());
  const std::vector<float> expected = loaded.logits(ids_);
  Loaded guarded(checkpoint(), select_isa(), 2, true);
  operation_calls.fill(0);
  SequenceState state = guarded.new_state();
  state.keep_history(2);
  EXPECT_TRUE(same_bits(guarded.logits(ids_), expected));
  EXPECT_GT(std::accumulate(operation_calls.begin(), operation_calls.end(), std::int64_t{0}), 10);
}

TEST_P(ModelBits, AStateGoesBackExactly) {
  if (!any_cuts()) return;  // what a token leaves depends on those beside it
  Loaded loaded(checkpoint());
  std::vector<std::string> at = {loaded.new_state().serialize()};  // by position
  SequenceState alone = loaded.new_state();
  for (const std::int32_t id : ids_) {
    all_logits(loaded.runtime.ctx, *loaded.model, std::span(&id, 1), alone);
    at.push_back(alone.serialize());
  }
  constexpr std::int64_t kHistory = 5;
  SequenceState state = loaded.new_state();
  const auto take = [&](std::size_t count) {
    const auto next = std::span(ids_).subspan(static_cast<std::size_t>(state.position()), count);
    all_logits(loaded.runtime.ctx, *loaded.model, next, state);
  };
  take(3);
  state.keep_history(kHistory);
  std::int64_t kept = 0;
  for (const std::size_t count : {1u, 2u, 9u, 1u, 17u, 4u, 1u}) {
    take(count);
    kept = std::min<std::int64_t>(kHistory, kept + static_cast<std::int64_t>(count));
    ASSERT_EQ(state.kept(), kept);
    for (std::int64_t back = 0; back <= kept; ++back) {
      SequenceState earlier = state;  // a copy can go back too
      earlier.rollback(back);
      EXPECT_EQ(earlier.position(), state.position() - back);
      EXPECT_TRUE(earlier.serialize() == at[static_cast<std::size_t>(earlier.position())])
          << "back by " << back << " from " << state.position();
      EXPECT_EQ(earlier.kept(), kept - back);
    }
  }
  expect_error([&] { state.rollback(kHistory + 1); }, ErrorCode::invalid_argument,
               {"at most 5 tokens", "6"});
  state.rollback(4);  // and goes on from there
  take(4);
  EXPECT_TRUE(state.serialize() == at[static_cast<std::size_t>(state.position())]);
}

TEST_P(ModelBits, LastAndNoLogitsAgreeWithAll) {
  Loaded loaded(checkpoint());
  const std::vector<float> all = loaded.logits(ids_);
  SequenceState state = loaded.new_state(), silent = loaded.new_state();
  SequenceState* states[] = {&state};
  const std::int32_t cu_seqlens[] = {0, static_cast<std::int32_t>(ids_.size())};
  const auto rows = static_cast<std::size_t>(kVocab);
  std::vector<float> last(rows);
  const LogitRows only_last[] = {LogitRows::last};
  loaded.model->forward(loaded.runtime.ctx, {ids_, cu_seqlens, states, only_last}, last.data());
  if (any_cuts()) {  // a scale over the last rows alone is another one
    EXPECT_TRUE(same_bits(last, std::span(all).last(rows)));
  }
  states[0] = &silent;
  loaded.model->forward(loaded.runtime.ctx, {ids_, cu_seqlens, states}, nullptr);
  EXPECT_EQ(silent.serialize(), state.serialize());
}

TEST_P(ModelBits, BatchesChangeNothing) {
  if (!any_cuts()) {  // a batch of one is the sequence itself
    Loaded loaded(checkpoint());
    EXPECT_EQ(loaded.logits(ids_).size(), ids_.size() * static_cast<std::size_t>(kVocab));
    return;
  }
  Loaded loaded(checkpoint());
  const auto other = random_ids(6, 20, kVocab);
  SequenceState a = loaded.new_state(), b = loaded.new_state(), c = loaded.new_state();
  std::vector<std::int32_t> ids = ids_;
  ids.insert(ids.end(), other.begin(), other.end());
  ids.push_back(3);
  const std::int32_t cu_seqlens[] = {0, 45, 65, 66};
  SequenceState* states[] = {&a, &b, &c};
  std::vector<float> together(ids.size() * static_cast<std::size_t>(kVocab));
  const LogitRows all_rows[] = {LogitRows::all, LogitRows::all, LogitRows::all};
  loaded.model->forward(loaded.runtime.ctx, {ids, cu_seqlens, states, all_rows}, together.data());
  std::vector<float> alone;
  for (const auto& sequence : {ids_, other, std::vector<std::int32_t>{3}}) {
    const auto part = loaded.logits(sequence);
    alone.insert(alone.end(), part.begin(), part.end());
  }
  EXPECT_TRUE(same_bits(together, alone));
  EXPECT_EQ(b.position(), 20);

  // And the last rows of a decode step of all three.
  const std::int32_t step[] = {7, 8, 9}, step_lens[] = {0, 1, 2, 3};
  SequenceState forks[] = {a, b, c};
  constexpr auto row = static_cast<std::size_t>(kVocab);
  std::vector<float> rows(3 * row);
  const LogitRows last_rows[] = {LogitRows::last, LogitRows::last, LogitRows::last};
  loaded.model->forward(loaded.runtime.ctx, {step, step_lens, states, last_rows}, rows.data());
  for (std::size_t i = 0; i < 3; ++i) {
    const auto single =
        all_logits(loaded.runtime.ctx, *loaded.model, std::span(step).subspan(i, 1), forks[i]);
    EXPECT_TRUE(same_bits(std::span(rows).subspan(i * row, row), single)) << i;
    EXPECT_EQ(states[i]->serialize(), forks[i].serialize()) << i;
  }
}

// A prompt without logits, one with its last, a sequence that rests, a scored text, decoding.
TEST_P(ModelBits, EachSequenceOfABatchSaysWhichLogitsItWants) {
  Loaded loaded(checkpoint());
  if (!any_cuts()) return;  // a scale that spans tokens spans those of others too
  const std::int32_t ends[] = {0, 11, 20, 20, 36, 37};
  constexpr LogitRows kRows[] = {LogitRows::none, LogitRows::last, LogitRows::last, LogitRows::all,
                                 LogitRows::last};
  std::vector<SequenceState> together(5, loaded.new_state()), alone(5, loaded.new_state());
  std::vector<SequenceState*> states;
  for (SequenceState& state : together) states.push_back(&state);
  std::vector<float> logits(18 * static_cast<std::size_t>(kVocab));
  const auto ids = std::span(ids_).first(37);
  loaded.model->forward(loaded.runtime.ctx, {ids, ends, states, kRows}, logits.data());
  std::vector<float> expected;
  for (std::size_t i = 0; i < 5; ++i) {
    const auto part = ids.subspan(static_cast<std::size_t>(ends[i]),
                                  static_cast<std::size_t>(ends[i + 1] - ends[i]));
    const auto all = all_logits(loaded.runtime.ctx, *loaded.model, part, alone[i]);
    const std::int64_t rows = logit_rows(kRows[i], std::ssize(part));
    expected.insert(expected.end(), all.end() - rows * kVocab, all.end());
    EXPECT_EQ(together[i].serialize(), alone[i].serialize()) << i;
  }
  EXPECT_TRUE(same_bits(logits, expected));
  EXPECT_EQ(together[2].position(), 0);
  loaded.model->forward(loaded.runtime.ctx, {{}, std::span(ends).first(1), {}}, nullptr);  // nobody
}

TEST_P(ModelBits, SavedAndForkedStatesContinueAlike) {
  Loaded loaded(checkpoint());
  const auto head = std::span(ids_).first(20), tail = std::span(ids_).subspan(20);
  SequenceState state = loaded.new_state();
  all_logits(loaded.runtime.ctx, *loaded.model, head, state);
  SequenceState fork = state;
  Loaded elsewhere(checkpoint());  // loaded once more, as another process would
  SequenceState restored =
      SequenceState::deserialize(state.serialize(), elsewhere.model->state_layout(), nullptr,
                                 elsewhere.runtime.arena.memory());
  const auto expected = all_logits(loaded.runtime.ctx, *loaded.model, tail, state);
  EXPECT_TRUE(same_bits(all_logits(loaded.runtime.ctx, *loaded.model, tail, fork), expected));
  EXPECT_TRUE(
      same_bits(all_logits(elsewhere.runtime.ctx, *elsewhere.model, tail, restored), expected));
  EXPECT_EQ(restored.position(), kTokens);
}

// Before the tokens since the last chunk were part of an int8 state, it was smaller.
TEST(SavedStates, AreNotContinuedFromAStateOfAnotherLayout) {
  Loaded loaded(checkpoint_of("mamba2_state_rows"));
  const auto now = loaded.model->state_layout();
  StateLayout before;
  before.fingerprint = now->fingerprint;
  for (const StateBuffer& buffer : now->buffers) {
    if (buffer.name.starts_with("ssm_recent")) continue;
    before.add(buffer.name, buffer.layer, buffer.dtype, buffer.shape);
  }
  ASSERT_LT(before.bytes, now->bytes);
  SequenceState old(std::make_shared<const StateLayout>(before));
  old.advance(20);
  try {
    SequenceState::deserialize(old.serialize(), now);
    FAIL() << "a state of another layout was read";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::bad_data);
    EXPECT_EQ(
        std::string(error.what()),
        fmt::format("the saved state at position 20 has {} bytes, expected {} bytes and 0 per "
                    "token: it is damaged or of another version of krait",
                    before.bytes, now->bytes));
  }
}

INSTANTIATE_TEST_SUITE_P(Numerics, ModelBits, testing::ValuesIn(case_names()),
                         [](const auto& test) { return test.param; });

TEST(Fingerprint, TellsWhatNoTensorShows) {
  const auto fingerprint = [](const TinyMamba2& sizes) {
    return Loaded(tiny_mamba2(sizes)).model->state_layout()->fingerprint;
  };
  const TinyMamba2 base{.H = 6, .P = 6, .G = 2, .N = 6};
  TinyMamba2 groups = base, limit = base;
  groups.G = 1;
  groups.N = 12;
  limit.dt_max = 0.5;
  EXPECT_EQ(fingerprint(base), fingerprint(base));
  EXPECT_NE(fingerprint(groups), fingerprint(base));
  EXPECT_NE(fingerprint(limit), fingerprint(base));
}

TEST(Fingerprint, TellsHowHeadsArePlaced) {
  const auto fingerprint = [](const TinyNeox& sizes) {
    return Loaded(tiny_neox(sizes)).model->state_layout()->fingerprint;
  };
  TinyNeox heads = kNeox, rotary = kNeox;
  heads.heads = 2;
  rotary.rotary_pct = 1;
  EXPECT_EQ(fingerprint(kNeox), fingerprint(kNeox));
  EXPECT_NE(fingerprint(heads), fingerprint(kNeox));
  EXPECT_NE(fingerprint(rotary), fingerprint(kNeox));
}

TEST(Fingerprint, TellsModelsApart) {
  const TestCheckpoint base = tiny_mamba(kSizes);
  const auto fingerprint = [](const TestCheckpoint& checkpoint) {
    return Loaded(checkpoint).model->state_layout()->fingerprint;
  };
  const std::string original = fingerprint(base);
  EXPECT_EQ(original.size(), 16u);
  EXPECT_EQ(fingerprint(base), original);
  TinyMamba other = kSizes;
  other.seed = 99;
  EXPECT_NE(fingerprint(tiny_mamba(other)), original);
  TestCheckpoint eps = base;
  eps.config["layer_norm_epsilon"] = 1e-6;
  EXPECT_NE(fingerprint(eps), original);
  EXPECT_NE(fingerprint(checkpoint_of("mamba_static_tensor")),
            fingerprint(checkpoint_of("mamba_dynamic_token")));
}

}  // namespace
}  // namespace krait
