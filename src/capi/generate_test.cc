// Generating by C: the tokens are those of C++.
#include <algorithm>
#include <thread>

#include "capi/test_support.h"
#include "krait/generate.h"

namespace krait::capi {
namespace {

GenerationHandle begin(const SessionHandle& session, const krait_generate_options& options,
                       std::string_view prompt = "hello") {
  krait_generation* generation = nullptr;
  expect_ok(
      krait_generation_new(session.get(), prompt.data(), prompt.size(), &options, &generation));
  return GenerationHandle(generation);
}

const krait_token* next(const GenerationHandle& generation) {
  const krait_token* token = nullptr;
  expect_ok(krait_generation_next(generation.get(), &token));
  return token;
}

/// Writes to the end and returns the ids, which the result has too.
std::vector<std::int32_t> ids_of(const GenerationHandle& generation) {
  std::vector<std::int32_t> ids;
  while (const krait_token* token = next(generation)) ids.push_back(token->id);
  const krait_result* const result = krait_generation_result(generation.get());
  EXPECT_EQ(ids, std::vector<std::int32_t>(result->ids, result->ids + result->id_count));
  return ids;
}

TEST(CapiGenerate, GivesTheTokensOfCpp) {
  const Engine engine = byte_engine();
  const EngineHandle handle(new krait_engine(engine));
  krait_generate_options options = options_of(30);
  options.logprobs = 3;
  Session expected_session = engine.new_session();
  const GenerateOptions same{.max_tokens = 30,
                             .temperature = 1.5f,
                             .top_k = 0,
                             .top_p = 1,
                             .min_p = 0,
                             .seed = 7,
                             .ignore_eos = true,
                             .logprobs = 3};
  Generation expected(engine, expected_session, "hello", same);
  const SessionHandle session = new_session(handle);
  const GenerationHandle generation = begin(session, options);
  EXPECT_EQ(krait_generation_result(generation.get())->finish, KRAIT_FINISH_RUNNING);
  std::string text;
  while (const std::optional<Token> token = expected.next()) {
    const krait_token* const got = next(generation);
    ASSERT_NE(got, nullptr);
    EXPECT_EQ(got->id, token->id);
    EXPECT_EQ(std::string_view(got->text, got->text_length), token->text);
    EXPECT_EQ(got->logprob, token->logprob);
    ASSERT_EQ(got->top_count, 3u);
    for (std::size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(got->top[i].id, token->top[i].id);
      EXPECT_EQ(got->top[i].logprob, token->top[i].logprob);
    }
    text.append(got->text, got->text_length);
  }
  EXPECT_EQ(next(generation), nullptr);
  EXPECT_EQ(next(generation), nullptr);
  const krait_result* const result = krait_generation_result(generation.get());
  EXPECT_EQ(std::string_view(result->text, result->text_length), text);
  EXPECT_EQ(text, expected.result().text);
  EXPECT_EQ(result->finish, KRAIT_FINISH_LENGTH);
  EXPECT_EQ(result->id_count, 30u);
  EXPECT_EQ(result->prompt_tokens, 5);
  EXPECT_EQ(result->seed, 7u);
  EXPECT_GT(result->prefill_seconds, 0);
  EXPECT_EQ(krait_session_position(session.get()), expected_session.position());
}

TEST(CapiGenerate, EndsBeforeAStopText) {
  const EngineHandle engine = byte_engine_handle();
  krait_generate_options options = options_of(40);
  const SessionHandle first = new_session(engine), second = new_session(engine);
  const GenerationHandle whole = begin(first, options);
  ids_of(whole);
  const krait_result* const all = krait_generation_result(whole.get());
  const std::string text(all->text, all->text_length);
  const std::string stop = text.substr(text.size() / 2, 4);
  const char* const stops[] = {"never to be seen", stop.c_str()};
  options.stop = stops;
  options.stop_count = 2;
  const GenerationHandle stopped = begin(second, options);
  ids_of(stopped);
  const krait_result* const result = krait_generation_result(stopped.get());
  EXPECT_EQ(result->finish, KRAIT_FINISH_STOP);
  EXPECT_EQ(std::string(result->text, result->text_length), text.substr(0, text.find(stop)));
  options.stop = nullptr;
  krait_generation* refused = nullptr;
  expect_failure(krait_generation_new(second.get(), "x", 1, &options, &refused),
                 KRAIT_INVALID_ARGUMENT, "stop is NULL");
}

TEST(CapiGenerate, WhatIsUsedOutlivesItsHandle) {
  EngineHandle engine = byte_engine_handle();
  SessionHandle session = new_session(engine);
  CancelHandle cancel = new_cancel();
  krait_generate_options options = options_of(20);
  const GenerationHandle expected = begin(new_session(engine), options);
  options.cancel = cancel.get();
  const GenerationHandle generation = begin(session, options);
  EXPECT_NE(next(generation), nullptr);
  engine.reset();
  session.reset();
  cancel.reset();
  EXPECT_NE(next(generation), nullptr);
  while (next(generation)) {
  }
  const krait_result* const result = krait_generation_result(generation.get());
  const std::vector<std::int32_t> ids(result->ids, result->ids + result->id_count);
  EXPECT_EQ(ids, ids_of(expected));
  EXPECT_EQ(ids.size(), 20u);
}

TEST(CapiGenerate, IsCancelled) {
  const EngineHandle engine = byte_engine_handle();
  const SessionHandle session = new_session(engine);
  GenerationHandle generation = begin(session, options_of(1000));
  next(generation), next(generation);
  expect_ok(krait_generation_cancel(generation.get()));
  EXPECT_EQ(next(generation), nullptr);
  EXPECT_EQ(krait_generation_result(generation.get())->finish, KRAIT_FINISH_CANCELLED);
  EXPECT_EQ(krait_generation_result(generation.get())->id_count, 2u);

  const CancelHandle cancel = new_cancel();
  krait_generate_options options = options_of(1 << 30);
  options.cancel = cancel.get();
  generation = begin(session, options, "");
  next(generation);
  std::thread asks([&] { krait_cancel_ask(cancel.get()); });
  while (next(generation)) {
  }
  asks.join();
  EXPECT_EQ(krait_generation_result(generation.get())->finish, KRAIT_FINISH_CANCELLED);
  EXPECT_GE(krait_session_position(session.get()), 7);
}

TEST(CapiGenerate, RefusesOptionsOutOfRange) {
  const EngineHandle engine = byte_engine_handle();
  const SessionHandle session = new_session(engine);
  krait_generate_options options = options_of(5);
  options.temperature = -1;
  krait_generation* generation = nullptr;
  expect_failure(krait_generation_new(session.get(), "x", 1, &options, &generation),
                 KRAIT_INVALID_ARGUMENT, "temperature");
  expect_failure(krait_generation_new(session.get(), nullptr, 0, nullptr, &generation),
                 KRAIT_INVALID_ARGUMENT, "");
  EXPECT_EQ(generation, nullptr);
}

struct Heard {
  std::vector<std::vector<std::int32_t>> ids;
};

bool hear(void* user, size_t i, const krait_token* token) {
  auto& ids = static_cast<Heard*>(user)->ids[i];
  ids.push_back(token->id);
  return !(i == 1 && ids.size() == 4);
}

TEST(CapiGenerate, SeveralTogether) {
  const EngineHandle engine = byte_engine_handle();
  const krait_generate_options options = options_of(12);
  const SessionHandle sessions[] = {new_session(engine), new_session(engine), new_session(engine)};
  const std::string prompts[] = {"one", "two and a half", "3"};
  std::vector<krait_request> requests;
  std::vector<std::vector<std::int32_t>> expected;
  for (std::size_t i = 0; i < 3; ++i) {
    requests.push_back({sessions[i].get(), prompts[i].data(), prompts[i].size(), &options});
    expected.push_back(ids_of(begin(new_session(engine), options, prompts[i])));
  }
  expected[1].resize(4);
  Heard heard{std::vector<std::vector<std::int32_t>>(3)};
  krait_results* made = nullptr;
  expect_ok(krait_generate(requests.data(), 3, hear, &heard, &made));
  const ResultsHandle results(made);
  EXPECT_EQ(heard.ids, expected);
  for (std::size_t i = 0; i < 3; ++i) {
    const krait_result* const result = krait_results_at(made, i);
    EXPECT_EQ(std::vector<std::int32_t>(result->ids, result->ids + result->id_count), expected[i]);
    EXPECT_EQ(result->finish, i == 1 ? KRAIT_FINISH_CANCELLED : KRAIT_FINISH_LENGTH);
  }
  EXPECT_EQ(krait_results_at(made, 3), nullptr);

  krait_results* none = nullptr;
  expect_ok(krait_generate(nullptr, 0, nullptr, nullptr, &none));
  EXPECT_EQ(krait_results_at(none, 0), nullptr);
  krait_results_free(none);
  requests[2].session = requests[0].session;
  expect_failure(krait_generate(requests.data(), 3, nullptr, nullptr, &none),
                 KRAIT_INVALID_ARGUMENT, "twice");
  EXPECT_EQ(none, nullptr);
}

TEST(CapiGenerate, TwoThreadsShareAnEngine) {
  const EngineHandle engine = byte_engine_handle();
  const krait_generate_options options = options_of(40);
  const std::string prompts[] = {"first", "the second"};
  std::vector<std::int32_t> alone[2], together[2];
  for (std::size_t i = 0; i < 2; ++i) {
    alone[i] = ids_of(begin(new_session(engine), options, prompts[i]));
  }
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < 2; ++i) {
    threads.emplace_back(
        [&, i] { together[i] = ids_of(begin(new_session(engine), options, prompts[i])); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(together[0], alone[0]);
  EXPECT_EQ(together[1], alone[1]);
  EXPECT_EQ(alone[0].size(), 40u);
}

}  // namespace
}  // namespace krait::capi
