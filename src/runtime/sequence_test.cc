#include "runtime/sequence.h"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "io/file.h"
#include "io/test_support.h"
#include "krait/error.h"
#include "krait/generate.h"
#include "models/byte_reader.h"
#include "models/fingerprint.h"
#include "runtime/test_support.h"

namespace krait {
namespace {

using Ids = std::vector<std::int32_t>;

Sequence& sequence_of(Session& session) { return SessionAccess::sequence(session); }

/// All sections: a prompt, drawn tokens, text shown ahead.
Sequence filled(const Engine& engine) {
  Session session = engine.new_session();
  generate(engine, session, "hello", {.max_tokens = 5, .seed = 3, .stop = {}, .ignore_eos = true});
  sequence_of(session).shown = "\xc3\xa9";
  return sequence_of(session);
}

Sequence restored(const Engine& engine, std::string_view saved) {
  return restore_sequence(saved, model_of(engine).state_layout(), engine.vocab_rows(),
                          &*EngineAccess::model(engine)->tokenizer);
}

TEST(Sequence, IsWhatItWasOnceRestored) {
  const Engine engine = byte_engine();
  const Sequence sequence = filled(engine);
  const Sequence back = restored(engine, sequence.save());
  EXPECT_EQ(back.save(), sequence.save());
  EXPECT_EQ(back.history, sequence.history);
  EXPECT_EQ(back.history.size(), 10u);
  EXPECT_EQ(back.logits, sequence.logits);
  EXPECT_EQ(back.random->seed, 3u);
  EXPECT_EQ(back.shown, "\xc3\xa9");
  const Sequence empty = restored(engine, engine.new_session().save());
  EXPECT_EQ(empty.state.position(), 0);
  EXPECT_TRUE(empty.logits.empty());
}

TEST(Sequence, ReadsAStateAlone) {
  const Engine engine = byte_engine();
  const Sequence sequence = filled(engine);
  Sequence back = restored(engine, sequence.state.serialize());
  EXPECT_EQ(back.state.serialize(), sequence.state.serialize());
  EXPECT_TRUE(back.logits.empty());
  EXPECT_TRUE(back.history.empty());
  back.read(executor_of(engine), Ids{1, 2});
  EXPECT_EQ(back.history.size(), 2u);  // of 12: those before are not known
  EXPECT_EQ(restored(engine, back.save()).save(), back.save());
}

TEST(Sequence, RefusesEveryTruncationAndEveryFlippedBit) {
  const Engine engine = byte_engine();
  const Sequence sequence = filled(engine);
  const std::string saved = sequence.save();
  const std::size_t state = sequence.state.serialize().size();
  for (std::size_t n = 0; n < saved.size(); n += n < state ? 97 : 1) {
    if (n == state) continue;  // a state alone
    EXPECT_THROW(restored(engine, saved.substr(0, n)), Error) << n;
  }
  for (std::size_t i = 0; i < saved.size(); i += i < state ? 97 : 1) {
    std::string damaged = saved;
    damaged[i] = static_cast<char>(damaged[i] ^ 0x10);
    EXPECT_THROW(restored(engine, damaged), Error) << i;
  }
  EXPECT_THROW(restored(engine, saved + "x"), Error);
}

TEST(Sequence, RefusesSectionsThatMakeNoSense) {
  const Engine engine = byte_engine();
  const Sequence sequence = filled(engine);
  const auto refused = [&](auto change, std::initializer_list<std::string> parts) {
    Sequence bad = sequence;
    change(bad);
    expect_error([&] { restored(engine, bad.save()); }, ErrorCode::bad_data, parts);
  };
  refused([](Sequence& s) { s.history[2] = 264; }, {"token id 264", "[0, 264)"});
  refused([](Sequence& s) { s.history[2] = -1; }, {"token id -1"});
  refused([](Sequence& s) { s.history.resize(11); }, {"IDS"});
  refused([](Sequence& s) { s.logits.pop_back(); }, {"LOGT"});
  refused([](Sequence& s) { s.logits[7] = std::numeric_limits<float>::infinity(); },
          {"NaN or infinite"});
  refused([](Sequence& s) { std::memset(static_cast<void*>(&s.random->rng), 0, sizeof(Rng)); },
          {"random numbers"});
  refused([](Sequence& s) { s.state.reset(); }, {"IDS"});
}

// tests/golden/README.md says what wrote the files.
const std::string kStates = KRAIT_SOURCE_DIR "/tests/golden/states/";

Engine golden_engine(const std::string& model) {
  return Engine::load(KRAIT_SOURCE_DIR "/tests/golden/" + model, {.threads = 1});
}

Ids golden_prompt(std::size_t tokens) {
  Ids ids;
  for (std::size_t i = 0; i < tokens; ++i) ids.push_back('0' + static_cast<int>(i % 10));
  return ids;
}

TEST(SavedStates, OfTheSecondVersionGoOn) {
  const std::pair<const char*, std::size_t> files[] = {
      {"mamba-f32-tied", 21}, {"mamba2-f32-tied", 16}, {"jamba-f32", 10}};
  for (const auto& [model, tokens] : files) {
    const Engine engine = golden_engine(model);
    Session now = engine.new_session();
    now.prefill(golden_prompt(tokens));
    Session old = engine.restore(read_file(kStates + model + ".krstate2"));
    EXPECT_EQ(old.position(), static_cast<std::int64_t>(tokens)) << model;
    EXPECT_TRUE(old.logits().empty());
    old.decode(7);
    now.decode(7);
    EXPECT_TRUE(std::equal(old.logits().begin(), old.logits().end(), now.logits().begin(),
                           now.logits().end()))
        << model;
    EXPECT_EQ(sequence_of(old).state.serialize(), sequence_of(now).state.serialize()) << model;
  }
}

TEST(SavedStates, OfTheThirdVersionAreWrittenAsTheyWereRead) {
  const Engine engine = golden_engine("mamba-f32-tied");
  const std::string saved = read_file(kStates + "mamba-f32-tied.krstate3");
  Session session = engine.restore(saved);
  EXPECT_EQ(session.save(), saved);
  EXPECT_EQ(session.position(), 24);
  const Sequence& sequence = sequence_of(session);
  EXPECT_EQ(sequence.random->seed, 7u);
  const auto prompt = std::span(sequence.history).first(21);
  EXPECT_TRUE(std::ranges::equal(prompt, golden_prompt(21)));
  Session again = engine.new_session();
  again.prefill(sequence.history);
  EXPECT_TRUE(std::ranges::equal(again.logits(), session.logits()));
  EXPECT_EQ(sequence_of(again).state.serialize(), sequence.state.serialize());
}

TEST(SavedStates, OfTheFirstVersionAreRefused) {
  const Engine engine = golden_engine("mamba-f32-tied");
  expect_error([&] { engine.restore(read_file(kStates + "mamba-f32-tied.krstate1")); },
               ErrorCode::bad_data, {"version 1 (KRSTATE1)", "consume the text again"});
}

// Mamba-2 in float32 kept nothing of the tokens since the last multiple of 16.
TEST(SavedStates, OfTheSecondVersionOfMamba2GoOnAtMultiplesOf16Only) {
  const Engine engine = golden_engine("mamba2-f32-tied");
  expect_error([&] { engine.restore(read_file(kStates + "mamba2-f32-tied-21.krstate2")); },
               ErrorCode::bad_data, {"version 2 (KRSTATE2) at position 21", "multiple of 16"});
}

}  // namespace
}  // namespace krait
