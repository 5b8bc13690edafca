// The small tokenizers of tests/golden/tokenizer and what `tokenizers` from PyPI says of them.
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "text/utf8.h"
#include "tokenizer/tokenizer.h"

namespace krait {
namespace {

using Ids = std::vector<TokenId>;

std::string with_replacement_characters(std::string bytes) {
  std::string text;
  drain_utf8(bytes, true, text);
  return text;
}

std::string streamed(const Tokenizer& tokenizer, const Ids& ids, bool skip_special) {
  TextStream stream(tokenizer, skip_special);
  std::string text;
  for (const TokenId id : ids) {
    const std::string part = stream.push(id);
    EXPECT_EQ(valid_utf8_prefix(part), part.size()) << "half a character in the stream";
    text += part;
  }
  return text + stream.flush();
}

TEST(TokenizerGolden, AgreesWithTokenizers) {
  const std::string folder = KRAIT_SOURCE_DIR "/tests/golden/tokenizer/";
  std::ifstream cases(folder + "cases.jsonl");
  ASSERT_TRUE(cases);
  std::map<std::string, Tokenizer> tokenizers;
  std::map<std::string, int> counts;
  for (std::string line; std::getline(cases, line);) {
    const auto expected = nlohmann::json::parse(line);
    const std::string name = expected.at("tokenizer");
    if (!tokenizers.contains(name)) tokenizers.emplace(name, Tokenizer::load(folder + name));
    const Tokenizer& tokenizer = tokenizers.at(name);
    SCOPED_TRACE(name + ": " + expected.at("text").dump());
    ++counts[name];

    const std::string text = expected.at("text");
    const Ids ids = expected.at("ids");
    EXPECT_EQ(tokenizer.encode(text), ids);
    EXPECT_EQ(tokenizer.encode(text, false), expected.value("plain", ids));
    const std::string decoded = expected.at("decoded");
    const std::string decoded_all = expected.value("decoded_all", decoded);
    EXPECT_EQ(with_replacement_characters(tokenizer.decode(ids)), decoded);
    EXPECT_EQ(with_replacement_characters(tokenizer.decode(ids, false)), decoded_all);
    EXPECT_EQ(streamed(tokenizer, ids, true), decoded);
    EXPECT_EQ(streamed(tokenizer, ids, false), decoded_all);
  }
  EXPECT_GE(counts.size(), 5u);
  for (const auto& [name, count] : counts) EXPECT_GE(count, 100) << name;
}

}  // namespace
}  // namespace krait
