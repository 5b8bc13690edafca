#include "krait/generate.h"

#include <gtest/gtest.h>

#include <algorithm>

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
