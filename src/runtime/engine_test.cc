#include "krait/engine.h"

#include <gtest/gtest.h>

#include <cstring>
#include <thread>

#include "io/file.h"
#include "io/test_support.h"
#include "krait/error.h"
#include "krait/session.h"
#include "runtime/test_support.h"

namespace krait {
namespace {

bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

template <typename Fn>
std::string message_of(ErrorCode code, Fn&& run) {
  try {
    run();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}

TEST(Engine, LoadsADirectory) {
  const Engine engine =
      Engine::load(KRAIT_SOURCE_DIR "/tests/golden/mamba-f32-tied", {.threads = 2});
  EXPECT_EQ(engine.vocab_rows(), 67);
  EXPECT_EQ(engine.vocab_size(), 67);
  EXPECT_EQ(engine.threads(), 2);
  ASSERT_EQ(engine.eos_ids().size(), 1u);
  EXPECT_EQ(engine.eos_ids()[0], 0);
  EXPECT_EQ(engine.description().find("mamba 1"), 0u) << engine.description();
  EXPECT_NE(engine.description().find("F32, "), std::string::npos);
  const std::string message =
      message_of(ErrorCode::not_found, [&] { static_cast<void>(engine.encode("text")); });
  EXPECT_NE(message.find("tokenizer.json"), std::string::npos);
}

TEST(Engine, HidesIdsThatTheTokenizerDoesNotKnow) {
  const Engine engine = byte_engine();
  EXPECT_EQ(engine.vocab_rows(), 264);
  EXPECT_EQ(engine.vocab_size(), 257);
  EXPECT_EQ(engine.decode(engine.encode("a\xc3\xa9 z")), "a\xc3\xa9 z");
}

TEST(Engine, RefusesBadOptionsAndMissingModels) {
  message_of(ErrorCode::invalid_argument, [] { byte_engine({.threads = -1}); });
  message_of(ErrorCode::invalid_argument, [] { byte_engine({.threads = 5000}); });
  message_of(ErrorCode::not_found, [] { Engine::load("/nowhere/at/all"); });
}

TEST(Engine, TellsWhatItIs) {
  const EngineInfo info =
      Engine::load(KRAIT_SOURCE_DIR "/tests/golden/jamba-f32", {.threads = 1}).info();
  EXPECT_EQ(info.family, "jamba");
  EXPECT_EQ(info.architecture, "JambaForCausalLM");
  EXPECT_EQ(info.recipe, "F32");
  EXPECT_EQ(info.threads, 1);
  EXPECT_EQ(info.layers, 4);
  EXPECT_EQ(info.d_model, 36);
  EXPECT_EQ(info.vocab_rows, 67);
  EXPECT_GT(info.parameters, 10000);
  EXPECT_GT(info.weight_bytes, 10000u);
  EXPECT_GT(info.state_bytes, 1000u);
  EXPECT_GT(info.state_bytes_per_token, 0u);
  EXPECT_EQ(byte_engine().info().vocab_size, 257);
}

TEST(Engine, NamesItsTokens) {
  const Engine engine = byte_engine();
  EXPECT_EQ(engine.token_id("<|endoftext|>"), kTestEos);
  EXPECT_EQ(engine.token_id("a"), 'a');
  EXPECT_FALSE(engine.token_id("<|im_end|>").has_value());
  EXPECT_EQ(engine.token_text(kTestEos), "<|endoftext|>");
  EXPECT_EQ(engine.token_text('a'), "a");
  EXPECT_EQ(engine.token_text(9999), "");
  EXPECT_FALSE(engine.bos_id().has_value());
  const Engine golden = Engine::load(KRAIT_SOURCE_DIR "/tests/golden/mamba-f32-tied");
  EXPECT_EQ(golden.bos_id(), 0);
  message_of(ErrorCode::not_found, [&] { static_cast<void>(golden.token_id("a")); });
}

TEST(Engine, LoadsFilesThatAreInMemory) {
  const std::string directory = KRAIT_SOURCE_DIR "/tests/golden/mamba-f32-tied";
  const std::string config = read_file(directory + "/config.json");
  std::string tensors = read_file(directory + "/model.safetensors");
  const std::string tokenizer = byte_tokenizer_json();
  const Engine from_files = Engine::load(directory, {.threads = 1});
  const auto kept = std::make_shared<const std::string>(tensors);
  MemoryCheckpoint files{
      .config = config, .safetensors = std::as_bytes(std::span(tensors)), .tokenizer = tokenizer};
  const Engine copied = Engine::load_from_memory(files, {.threads = 1});
  files.safetensors = std::as_bytes(std::span(*kept));
  files.owner = kept;
  const Engine borrowed = Engine::load_from_memory(files, {.threads = 1});
  tensors.assign(tensors.size(), 'x');  // nobody looks any more
  Session expected = from_files.new_session();
  expected.prefill(std::vector<std::int32_t>{1, 2, 3});
  for (const Engine& engine : {copied, borrowed}) {
    Session session = engine.new_session();
    session.prefill(std::vector<std::int32_t>{1, 2, 3});
    EXPECT_TRUE(same_bits(session.logits(), expected.logits()));
    EXPECT_EQ(engine.encode("0").front(), '0');
  }
  EXPECT_GT(kept.use_count(), 1);
  files.safetensors = std::as_bytes(std::span(tensors));
  files.owner = nullptr;
  message_of(ErrorCode::bad_data, [&] { Engine::load_from_memory(files); });
  files.config = "[]";
  message_of(ErrorCode::bad_data, [&] { Engine::load_from_memory(files); });
}

TEST(Engine, PutsExpertsWhereTheVariableSays) {
  const auto load = [] {
    return Engine::load(KRAIT_SOURCE_DIR "/tests/golden/jamba-f32", {.threads = 1});
  };
  ::setenv("KRAIT_EXPERTS", "loaded", 1);
  const std::string message = message_of(ErrorCode::invalid_argument, load);
  EXPECT_NE(message.find("KRAIT_EXPERTS=loaded"), std::string::npos) << message;
  EXPECT_NE(message.find("packed, mapped"), std::string::npos) << message;
  EXPECT_NO_THROW(Engine::load(KRAIT_SOURCE_DIR "/tests/golden/jamba-f32",
                               {.threads = 1, .experts = ExpertMemory::mapped}));
  ::setenv("KRAIT_EXPERTS", "mapped", 1);
  EXPECT_NO_THROW(load());
  ::unsetenv("KRAIT_EXPERTS");
}

TEST(Session, ConsumesLongPromptsInAnyPieces) {
  const Engine engine = byte_engine({.threads = 2});
  const auto ids = random_ids(3, 2 * kPrefillChunk + 77, 257);
  Session whole = engine.new_session();
  EXPECT_TRUE(whole.logits().empty());
  whole.prefill(ids);
  EXPECT_EQ(whole.position(), static_cast<std::int64_t>(ids.size()));
  EXPECT_EQ(whole.logits().size(), 264u);
  Session pieces = engine.new_session();
  pieces.prefill(std::span(ids).first(700));
  pieces.prefill({});
  for (const std::int32_t id : std::span(ids).subspan(700)) pieces.decode(id);
  EXPECT_TRUE(same_bits(pieces.logits(), whole.logits()));
  EXPECT_EQ(pieces.save(), whole.save());
}

TEST(Session, ManyDecodeTogetherAsEachAlone) {
  const Engine engine = byte_engine({.threads = 2});
  std::vector<Session> together, alone;
  std::vector<Session*> batch;
  for (int i = 0; i < 5; ++i) {
    together.push_back(engine.new_session());
    together.back().prefill(random_ids(10 + static_cast<std::uint64_t>(i), 3 + 7 * i, 257));
    alone.push_back(together.back());
  }
  for (Session& session : together) batch.push_back(&session);
  for (int step = 0; step < 3; ++step) {
    const auto ids = random_ids(20 + static_cast<std::uint64_t>(step), 5, 257);
    decode(batch, ids);
    for (std::size_t i = 0; i < alone.size(); ++i) {
      alone[i].decode(ids[i]);
      EXPECT_TRUE(same_bits(together[i].logits(), alone[i].logits())) << i;
      EXPECT_EQ(together[i].save(), alone[i].save()) << i;
    }
  }
  decode({}, {});  // nobody: nothing
}

TEST(Session, RefusesBadDecodeBatches) {
  const Engine engine = byte_engine(), other = byte_engine();
  Session a = engine.new_session(), b = engine.new_session(), foreign = other.new_session();
  Session* pair[] = {&a, &b};
  Session* twice[] = {&a, &a};
  Session* mixed[] = {&a, &foreign};
  const std::int32_t one[] = {1}, two[] = {1, 2}, bad[] = {1, 264};
  const auto refused = [](std::span<Session* const> sessions, std::span<const std::int32_t> ids) {
    return message_of(ErrorCode::invalid_argument, [&] { decode(sessions, ids); });
  };
  EXPECT_NE(refused(pair, one).find("1 tokens are given for 2 sessions"), std::string::npos);
  EXPECT_NE(refused(twice, two).find("twice"), std::string::npos);
  EXPECT_NE(refused(mixed, two).find("another engine"), std::string::npos);
  EXPECT_NE(refused(pair, bad).find("264"), std::string::npos);
  EXPECT_EQ(a.position(), 0);
  EXPECT_EQ(b.position(), 0);
}

Engine mamba2_engine(std::int64_t vocab) {
  const TestCheckpoint checkpoint = tiny_mamba2({.V = vocab});
  return make_engine({.config = checkpoint.config,
                      .generation_config = {},
                      .tensors = checkpoint.source(),
                      .tokenizer = std::nullopt},
                     {.threads = 2});
}

// Mamba-2 takes chunks of tokens at once where a call has them whole.
TEST(Session, AnyCutsOfAPromptGiveTheSameBits) {
  const Engine engine = mamba2_engine(61);
  const auto ids = random_ids(3, 2 * kPrefillChunk + 77, 61);
  const auto after = [&](std::size_t cut) {
    Session session = engine.new_session();
    session.prefill(std::span(ids).first(cut));
    session.prefill(std::span(ids).subspan(cut));
    return session;
  };
  Session steps = engine.new_session();
  for (const std::int32_t id : ids) steps.decode(id);
  for (const std::size_t cut : {0u, 1u, 15u, 16u, 700u, 1083u}) {
    EXPECT_TRUE(same_bits(after(cut).logits(), steps.logits())) << cut;
    EXPECT_TRUE(after(cut).save() == steps.save()) << cut;
  }
}

TEST(Session, GoesBackAndOnAsIfNothingHadHappened) {
  for (const Engine& engine : {mamba2_engine(61), byte_engine()}) {
    const auto ids = random_ids(3, 60, 61);
    Session plain = engine.new_session(), session = engine.new_session();
    plain.prefill(std::span(ids).first(40));
    session.keep_history(5);
    session.prefill(std::span(ids).first(40));
    session.prefill(std::vector<std::int32_t>{1, 2, 3});
    session.rollback(3);
    EXPECT_EQ(session.position(), 40);
    EXPECT_TRUE(session.logits().empty());
    expect_error([&] { session.rollback(3); }, ErrorCode::invalid_argument, {"at most 2", "3"});
    plain.prefill(std::span(ids).subspan(40));
    session.prefill(std::span(ids).subspan(40));
    EXPECT_TRUE(same_bits(session.logits(), plain.logits()));
    EXPECT_TRUE(session.save() == plain.save());
  }
}

TEST(Session, HandsOutTheLogitsOfEveryTokenChunkByChunk) {
  const Engine engine = mamba2_engine(100000);
  EXPECT_LT(logits_chunk(executor_of(engine)), 150);
  const auto ids = random_ids(3, 150, 100000);
  SequenceState state = executor_of(engine).new_state();
  std::vector<float> last;
  forward_logits(executor_of(engine), ids, state,
                 [&](std::int64_t, std::int64_t rows, const float* logits) {
                   last.assign(logits + (rows - 1) * 100000, logits + rows * 100000);
                 });
  Session session = engine.new_session();
  session.prefill(ids);
  EXPECT_TRUE(same_bits(session.logits(), last));
}

TEST(Session, HandsOutTheLogitsOfEveryToken) {
  const Engine engine = byte_engine();
  const auto ids = random_ids(3, 1100, 257);
  SequenceState state = executor_of(engine).new_state();
  std::int64_t next = 0;
  std::vector<float> at_600, last;
  forward_logits(executor_of(engine), ids, state,
                 [&](std::int64_t first, std::int64_t rows, const float* logits) {
                   EXPECT_EQ(first, next);
                   next += rows;
                   if (first <= 600 && 600 < next) {
                     at_600.assign(logits + (600 - first) * 264, logits + (601 - first) * 264);
                   }
                   last.assign(logits + (rows - 1) * 264, logits + rows * 264);
                 });
  EXPECT_EQ(next, 1100);
  Session session = engine.new_session();
  session.prefill(std::span(ids).first(601));
  EXPECT_TRUE(same_bits(session.logits(), at_600));
  session.prefill(std::span(ids).subspan(601));
  EXPECT_TRUE(same_bits(session.logits(), last));
}

TEST(Session, RefusesIdsOutsideTheVocabularyAndStaysUsable) {
  const Engine engine = byte_engine();
  Session session = engine.new_session();
  session.prefill(std::vector<std::int32_t>{1, 2, 3});
  const std::string before = session.save();
  for (const std::int32_t bad : {-1, 264, 1 << 30}) {
    const std::string message = message_of(ErrorCode::invalid_argument, [&] {
      session.prefill(std::vector<std::int32_t>{5, bad});
    });
    EXPECT_NE(message.find(std::to_string(bad)), std::string::npos);
    EXPECT_NE(message.find("position 1"), std::string::npos);
  }
  EXPECT_EQ(session.save(), before);
  EXPECT_NO_THROW(session.decode(263));
}

TEST(Session, CopiesForkAndSavedOnesContinue) {
  const Engine engine = byte_engine();
  const auto ids = random_ids(3, 40, 257);
  Session session = engine.new_session();
  session.prefill(ids);
  Session fork = session;
  Session restored = engine.restore(session.save());
  EXPECT_TRUE(same_bits(restored.logits(), session.logits()));
  EXPECT_EQ(restored.save(), session.save());
  EXPECT_EQ(restored.position(), 40);
  EXPECT_TRUE(same_bits(fork.logits(), session.logits()));
  for (Session* each : {&session, &fork, &restored}) each->decode(9);
  EXPECT_TRUE(same_bits(fork.logits(), session.logits()));
  EXPECT_TRUE(same_bits(restored.logits(), session.logits()));
  fork.decode(10);
  EXPECT_EQ(session.position(), 41);
  EXPECT_NE(fork.save(), session.save());
  fork = session;
  EXPECT_EQ(fork.save(), session.save());
  fork.reset();
  EXPECT_EQ(fork.position(), 0);
  EXPECT_TRUE(fork.logits().empty());
  EXPECT_EQ(fork.save(), engine.new_session().save());
  EXPECT_GT(session.state_bytes(), 0u);
  message_of(ErrorCode::invalid_argument,
             [&] { byte_engine({.threads = 1}, 2).restore(session.save()); });
  message_of(ErrorCode::bad_data, [&] { engine.restore("KRSTATE1"); });
}

TEST(Session, SeveralThreadsMayUseOneEngine) {
  const Engine engine = byte_engine({.threads = 2});
  const auto expected = [&](std::uint64_t seed) {
    Session session = engine.new_session();
    for (const std::int32_t id : random_ids(seed, 20, 257)) session.decode(id);
    return session.save();
  };
  const std::string alone[] = {expected(1), expected(2), expected(3)};
  std::string together[3];
  {
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < 3; ++i) {
      threads.emplace_back([&, i] { together[i] = expected(i + 1); });
    }
  }
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(together[i], alone[i]) << i;
}

}  // namespace
}  // namespace krait
