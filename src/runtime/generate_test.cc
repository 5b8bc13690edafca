#include "krait/generate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <stop_token>

#include "krait/error.h"
#include "runtime/test_support.h"

namespace krait {
namespace {

GenerateOptions options_of(int max_tokens, std::uint64_t seed = 1) {
  GenerateOptions options;
  options.max_tokens = max_tokens;
  options.seed = seed;
  options.temperature = 1.5f;  // a random model at its liveliest
  options.top_k = 0;
  options.top_p = 1;
  options.min_p = 0;
  return options;
}

GenerateResult run(const Engine& engine, const GenerateOptions& options,
                   std::string_view prompt = "hello") {
  Session session = engine.new_session();
  return generate(engine, session, prompt, options);
}

bool is_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const std::size_t length = lead < 0x80 ? 1 : lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    if ((lead >= 0x80 && lead < 0xc2) || lead > 0xf4 || i + length > text.size()) return false;
    for (std::size_t k = 1; k < length; ++k) {
      if ((static_cast<unsigned char>(text[i + k]) & 0xc0) != 0x80) return false;
    }
    i += length;
  }
  return true;
}

TEST(Generate, IsDeterministicForASeed) {
  const Engine engine = byte_engine();
  const GenerateResult a = run(engine, options_of(40)), b = run(engine, options_of(40));
  EXPECT_EQ(a.ids, b.ids);
  EXPECT_EQ(a.text, b.text);
  EXPECT_EQ(a.prompt_tokens, 5);
  EXPECT_NE(run(engine, options_of(40, 2)).ids, a.ids);
  GenerateOptions greedy = options_of(40);
  greedy.temperature = 0;
  EXPECT_EQ(run(engine, greedy).ids, run(engine, greedy).ids);
}

TEST(Generate, StreamsCompleteCharactersThatAddUpToTheText) {
  const Engine engine = byte_engine();
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    Session session = engine.new_session();
    std::string streamed;
    GenerateOptions options = options_of(60, seed);
    options.ignore_eos = true;
    const GenerateResult result =
        generate(engine, session, "x", options, [&](std::string_view text) {
          EXPECT_TRUE(is_utf8(text));
          EXPECT_FALSE(text.empty());
          streamed += text;
          return true;
        });
    EXPECT_EQ(streamed, result.text);
    EXPECT_EQ(result.finish_reason, FinishReason::length);
    EXPECT_EQ(result.ids.size(), 60u);
    EXPECT_EQ(session.position(), 1 + 60);
  }
}

TEST(Generate, EndsBeforeAStopTextThatSpansTokens) {
  const Engine engine = byte_engine();
  GenerateOptions options = options_of(80);
  options.ignore_eos = true;
  const std::string whole = run(engine, options).text;
  int tried = 0;
  // Every piece of three bytes, each a token of its own, that is valid text.
  for (std::size_t at = 3; at + 3 <= whole.size(); ++at) {
    const std::string stop = whole.substr(at, 3);
    if (!is_utf8(stop) || stop.find("\xef\xbf\xbd") != std::string::npos) continue;
    options.stop = {"never to be seen", stop};
    const GenerateResult result = run(engine, options);
    EXPECT_EQ(result.text, whole.substr(0, whole.find(stop)));
    EXPECT_EQ(result.finish_reason, FinishReason::stop);
    ++tried;
  }
  EXPECT_GT(tried, 0);
}

TEST(Generate, EndsAtTheEndOfText) {
  const Engine engine = byte_engine();
  GenerateOptions options = options_of(200);
  options.temperature = 8;  // near uniform: the end comes by chance
  std::int64_t ends = 0;
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    options.seed = seed;
    options.ignore_eos = false;
    Session session = engine.new_session();
    const GenerateResult result = generate(engine, session, "x", options);
    const auto eos = std::find(result.ids.begin(), result.ids.end(), kTestEos);
    if (eos == result.ids.end()) continue;
    ++ends;
    EXPECT_EQ(eos + 1, result.ids.end());
    EXPECT_EQ(result.finish_reason, FinishReason::stop);
    EXPECT_EQ(result.text.find("endoftext"), std::string::npos);
    EXPECT_EQ(session.position(), static_cast<std::int64_t>(result.ids.size()));  // not the end
    options.ignore_eos = true;
    EXPECT_EQ(run(engine, options, "x").ids.size(), 200u);
  }
  EXPECT_GT(ends, 0);
}

TEST(Generate, ContinuesASession) {
  const Engine engine = byte_engine();
  GenerateOptions options = options_of(10);
  options.temperature = 0;
  options.ignore_eos = true;
  Session once = engine.new_session(), twice = engine.new_session();
  options.max_tokens = 20;
  const auto whole = generate(engine, once, "abc", options).ids;
  options.max_tokens = 10;
  auto parts = generate(engine, twice, "abc", options).ids;
  const auto second = generate(engine, twice, "", options);
  EXPECT_EQ(second.prompt_tokens, 0);
  parts.insert(parts.end(), second.ids.begin(), second.ids.end());
  EXPECT_EQ(parts, whole);
  EXPECT_EQ(once.save(), twice.save());
}

TEST(Generate, CanBeCancelled) {
  const Engine engine = byte_engine();
  Session session = engine.new_session();
  int calls = 0;
  const GenerateResult result = generate(engine, session, "x", options_of(100),
                                         [&](std::string_view) { return ++calls < 3; });
  EXPECT_EQ(calls, 3);
  EXPECT_EQ(result.finish_reason, FinishReason::cancelled);
  EXPECT_LT(result.ids.size(), 100u);
  EXPECT_NO_THROW(generate(engine, session, "more", options_of(3)));
}

TEST(Generate, MayOnlyReadThePrompt) {
  const Engine engine = byte_engine();
  Session session = engine.new_session();
  const GenerateResult result = generate(engine, session, "prompt", options_of(0));
  EXPECT_TRUE(result.ids.empty());
  EXPECT_EQ(result.text, "");
  EXPECT_EQ(result.finish_reason, FinishReason::length);
  EXPECT_EQ(session.position(), 6);
}

/// What the ids say, with U+FFFD for what is not complete.
std::string text_of(const Engine& engine, std::span<const std::int32_t> ids) {
  TextStream stream(*EngineAccess::model(engine)->tokenizer);
  std::string text;
  for (const std::int32_t id : ids) text += stream.push(id);
  return text + stream.flush();
}

Session after(const Engine& engine, std::string_view prompt, std::span<const std::int32_t> ids) {
  Session session = engine.new_session();
  session.prefill(engine.encode(prompt));
  session.prefill(ids);
  return session;
}

// Every piece of one to four bytes, each a token of its own: the state is that before the token
// with which the stop text begins, whatever was held back on the way to it.
TEST(Generate, LeavesTheStateBeforeTheStopText) {
  const Engine engine = byte_engine();
  GenerateOptions options = options_of(60, 4);
  options.ignore_eos = true;
  const std::string whole = run(engine, options).text;
  int tried = 0, several = 0;
  for (std::size_t at = 0; at + 4 <= whole.size(); ++at) {
    for (std::size_t size = 1; size <= 4; ++size) {
      const std::string stop = whole.substr(at, size);
      if (!is_utf8(stop) || stop.find("\xef\xbf\xbd") != std::string::npos) continue;
      options.stop = {stop, stop.substr(0, 1) + "never"};
      Session session = engine.new_session();
      const GenerateResult result = generate(engine, session, "hello", options);
      ASSERT_EQ(result.finish_reason, FinishReason::stop);
      const auto kept = static_cast<std::size_t>(session.position() - 5);
      ASSERT_LT(kept, result.ids.size());
      const auto ids = std::span(result.ids).first(kept);
      EXPECT_EQ(text_of(engine, ids), result.text);
      EXPECT_NE(text_of(engine, std::span(result.ids).first(kept + 1)), result.text);
      const Session expected = after(engine, "hello", ids);
      EXPECT_TRUE(std::ranges::equal(expected.logits(), session.logits()));
      EXPECT_EQ(expected.position(), session.position());
      several += kept + 1 < result.ids.size() ? 1 : 0;
      ++tried;
    }
  }
  EXPECT_GT(tried, 20);
  EXPECT_GT(several, 5);
}

// At every place, and through a file: bytes of half a character are carried, not shown.
TEST(Generate, TextsThatAreCutAddUp) {
  const Engine engine = byte_engine();
  GenerateOptions options = options_of(40, 9);
  options.ignore_eos = true;
  Session once = engine.new_session();
  const GenerateResult whole = generate(engine, once, "x", options);
  for (int cut = 0; cut <= 40; ++cut) {
    Session session = engine.new_session();
    options.max_tokens = cut;
    options.seed = 9;
    std::string text = generate(engine, session, "x", options).text;
    EXPECT_TRUE(whole.text.starts_with(text));
    Session later = engine.restore(session.save());
    options.max_tokens = 40 - cut;
    options.seed.reset();  // the random numbers go on
    const GenerateResult rest = generate(engine, later, "", options);
    EXPECT_EQ(rest.seed, 9u);
    text += rest.text;
    EXPECT_EQ(text, whole.text) << cut;
    EXPECT_EQ(later.save(), once.save()) << cut;
  }
}

TEST(Generate, SeedsByChanceAreTold) {
  const Engine engine = byte_engine();
  GenerateOptions options = options_of(30);
  options.seed.reset();
  const GenerateResult a = run(engine, options), b = run(engine, options);
  EXPECT_NE(a.seed, b.seed);
  options.seed = a.seed;
  EXPECT_EQ(run(engine, options).ids, a.ids);
}

TEST(Generate, TellsLogProbabilities) {
  const Engine engine = byte_engine();
  GenerateOptions options = options_of(12);
  options.logprobs = 3;
  options.temperature = 2;
  Session session = engine.new_session(), plain = engine.new_session();
  Generation generation(engine, session, "hello", options);
  plain.prefill(engine.encode("hello"));
  int seen = 0;
  while (const std::optional<Token> token = generation.next()) {
    const std::vector<double> p = [&] {
      std::vector<double> values;
      double sum = 0;
      for (const float x : plain.logits().first(257)) sum += std::exp(double{x});
      for (const float x : plain.logits().first(257)) values.push_back(double{x} - std::log(sum));
      return values;
    }();
    EXPECT_NEAR(token->logprob, p[static_cast<std::size_t>(token->id)], 1e-9);
    ASSERT_EQ(token->top.size(), 3u);
    for (std::size_t i = 0; i < 3; ++i) {
      EXPECT_NEAR(token->top[i].logprob, p[static_cast<std::size_t>(token->top[i].id)], 1e-9);
      const double above = token->top[i].logprob;
      EXPECT_EQ(std::ranges::count_if(p, [&](double x) { return x > above + 1e-12; }),
                static_cast<std::ptrdiff_t>(i));
    }
    plain.decode(token->id);
    ++seen;
  }
  EXPECT_EQ(seen, 12);
}

TEST(Generation, GivesTokenByTokenWhatGenerateDoes) {
  const Engine engine = byte_engine();
  const GenerateResult expected = run(engine, options_of(30));
  Session session = engine.new_session();
  Generation generation(engine, session, "hello", options_of(30));
  std::string text;
  std::vector<std::int32_t> ids;
  while (const std::optional<Token> token = generation.next()) {
    EXPECT_EQ(generation.result().finish_reason, FinishReason::running);
    ids.push_back(token->id);
    text += token->text;
  }
  EXPECT_EQ(ids, expected.ids);
  EXPECT_EQ(text, expected.text);
  EXPECT_EQ(generation.result().finish_reason, expected.finish_reason);
  EXPECT_FALSE(generation.next().has_value());
}

TEST(Generation, LeavesTheSessionWhereItWasCancelled) {
  const Engine engine = byte_engine();
  GenerateOptions options = options_of(30);
  options.ignore_eos = true;
  const std::vector<std::int32_t> ids = run(engine, options).ids;
  for (int tokens = 0; tokens < 5; ++tokens) {
    Session asked = engine.new_session(), dropped = engine.new_session();
    {
      Generation a(engine, asked, "hello", options), b(engine, dropped, "hello", options);
      for (int i = 0; i < tokens; ++i) {
        EXPECT_EQ(a.next()->id, ids[static_cast<std::size_t>(i)]);
        b.next();
      }
      a.cancel();
      EXPECT_EQ(a.result().finish_reason, FinishReason::cancelled);
      EXPECT_FALSE(a.next().has_value());
    }
    for (const Session* session : {&asked, &dropped}) {
      EXPECT_EQ(session->position(), tokens == 0 ? 0 : 5 + tokens);
    }
    if (tokens == 0) continue;
    const Session expected =
        after(engine, "hello", std::span(ids).first(static_cast<std::size_t>(tokens)));
    EXPECT_TRUE(std::ranges::equal(expected.logits(), asked.logits()));
    EXPECT_EQ(asked.save(), dropped.save());
  }
}

TEST(Generation, CancelledWithAHeldBackTextIsBeforeIt) {
  const Engine engine = byte_engine();
  GenerateOptions options = options_of(30);
  options.ignore_eos = true;
  const GenerateResult whole = run(engine, options);
  options.stop = {text_of(engine, std::span(whole.ids).first(6)) + "never"};  // held from the start
  Session session = engine.new_session();
  Generation generation(engine, session, "hello", options);
  std::string shown;
  for (int i = 0; i < 4; ++i) shown += generation.next()->text;
  EXPECT_EQ(shown, "");
  generation.cancel();
  EXPECT_EQ(session.position(), 5);
  EXPECT_TRUE(std::ranges::equal(after(engine, "hello", {}).logits(), session.logits()));
}

TEST(Generate, IsCancelledByAToken) {
  const Engine engine = byte_engine();
  GenerateOptions options = options_of(100);
  options.ignore_eos = true;
  Session session = engine.new_session();
  int calls = 0;
  const GenerateResult result = generate(engine, session, "x", options, [&](std::string_view) {
    if (++calls == 2) options.cancel.cancel();  // shared with the copy that generate() has
    return true;
  });
  EXPECT_EQ(result.finish_reason, FinishReason::cancelled);
  EXPECT_EQ(session.position(), 1 + std::ssize(result.ids));
  Session never = engine.new_session();
  EXPECT_TRUE(generate(engine, never, "x", options).ids.empty());
  std::stop_source source;
  options.cancel = CancelToken(source.get_token());
  EXPECT_FALSE(options.cancel.cancelled());
  source.request_stop();
  EXPECT_EQ(generate(engine, never, "x", options).finish_reason, FinishReason::cancelled);
}

TEST(Generate, ManyTogetherAreEachAsAlone) {
  const Engine engine = byte_engine({.threads = 2});
  std::vector<Session> together, alone;
  std::vector<GenerateRequest> requests;
  for (std::uint64_t i = 0; i < 6; ++i) together.push_back(engine.new_session());
  alone = together;
  const std::string prompts[] = {"a", "hello there", "x", std::string(700, 'y'), "z", "zz"};
  for (std::size_t i = 0; i < 6; ++i) {
    GenerateOptions options = options_of(static_cast<int>(3 + 5 * i), i);
    if (i == 2) options.stop = {"e", "q"};
    requests.push_back({&together[i], prompts[i], options});
  }
  std::vector<std::string> texts(6);
  const std::vector<GenerateResult> results =
      generate(engine, requests, [&](std::size_t i, const Token& token) {
        texts[i] += token.text;
        return true;
      });
  for (std::size_t i = 0; i < 6; ++i) {
    const GenerateResult expected =
        generate(engine, alone[i], requests[i].prompt, requests[i].options);
    EXPECT_EQ(results[i].ids, expected.ids) << i;
    EXPECT_EQ(results[i].text, expected.text) << i;
    EXPECT_EQ(texts[i], expected.text) << i;
    EXPECT_EQ(results[i].finish_reason, expected.finish_reason) << i;
    EXPECT_EQ(together[i].save(), alone[i].save()) << i;
  }
  requests[1].session = requests[0].session;
  EXPECT_THROW(generate(engine, requests), Error);
  EXPECT_TRUE(generate(engine, std::span<const GenerateRequest>()).empty());
}

TEST(Generate, RefusesAnEmptyPromptWithNothingBefore) {
  const Engine engine = byte_engine();
  Session session = engine.new_session();
  EXPECT_THROW(generate(engine, session, "", options_of(5)), Error);
  session.prefill(std::vector<std::int32_t>{1});
  Session restored = engine.restore(SessionAccess::sequence(session).state.serialize());
  EXPECT_THROW(generate(engine, restored, "", options_of(5)), Error);  // a state without logits
  EXPECT_NO_THROW(generate(engine, session, "", options_of(5)));
  GenerateOptions bad = options_of(5);
  bad.top_p = 2;
  EXPECT_THROW(generate(engine, session, "x", bad), Error);
}

}  // namespace
}  // namespace krait
