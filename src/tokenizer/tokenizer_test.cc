#include "tokenizer/tokenizer.h"

#include <gtest/gtest.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "krait/error.h"
#include "text/utf8.h"
#include "tokenizer/byte_alphabet.h"

namespace krait {
namespace {

using Json = nlohmann::json;
using Ids = std::vector<TokenId>;

std::string byte_char(int byte) {
  std::string text;
  append_code_point(byte_to_char(static_cast<unsigned char>(byte)), text);
  return text;
}

// Ids 0..255 are the bytes, then the merges in the order given.
Json byte_level_file(const std::vector<std::pair<std::string, std::string>>& merges = {}) {
  Json vocab, pairs = Json::array();
  for (int byte = 0; byte < 256; ++byte) vocab[byte_char(byte)] = byte;
  for (const auto& [left, right] : merges) {
    vocab[left + right] = vocab.size();
    pairs.push_back({left, right});
  }
  const Json level = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}};
  return {{"normalizer", nullptr},
          {"pre_tokenizer", level},
          {"post_processor", nullptr},
          {"decoder", {{"type", "ByteLevel"}}},
          {"added_tokens", Json::array()},
          {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", pairs}}}};
}

// Ids 0..255 are byte tokens, 256 is <unk>, then characters and merges as Llama 2 has them.
Json byte_fallback_file() {
  Json vocab;
  for (int byte = 0; byte < 256; ++byte) {
    constexpr char kDigits[] = "0123456789ABCDEF";
    vocab[std::string("<0x") + kDigits[byte / 16] + kDigits[byte % 16] + ">"] = byte;
  }
  for (const char* token : {"<unk>", "\u2581", "a", "b", "c", "\u2581a", "ab", "\u2581ab"}) {
    vocab[token] = vocab.size();
  }
  const Json space = {{"String", " "}}, marker = {{"String", "\u2581"}};
  return {{"normalizer",
           {{"type", "Sequence"},
            {"normalizers",
             {{{"type", "Prepend"}, {"prepend", "\u2581"}},
              {{"type", "Replace"}, {"pattern", space}, {"content", "\u2581"}}}}}},
          {"decoder",
           {{"type", "Sequence"},
            {"decoders",
             {{{"type", "Replace"}, {"pattern", marker}, {"content", " "}},
              {{"type", "ByteFallback"}},
              {{"type", "Fuse"}},
              {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}}}}}},
          {"model",
           {{"type", "BPE"},
            {"unk_token", "<unk>"},
            {"byte_fallback", true},
            {"fuse_unk", true},
            {"vocab", vocab},
            {"merges", {"\u2581 a", "\u2581a b", "a b"}}}}};
}

Tokenizer parse(const Json& file) { return Tokenizer::parse(file.dump(), "test.json"); }

Ids bytes_of(std::string_view text) {
  Ids ids;
  for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
  return ids;
}

TEST(Tokenizer, InvalidBytesBecomeTheirByteTokens) {
  const Tokenizer byte_level = parse(byte_level_file());
  const Tokenizer fallback = parse(byte_fallback_file());
  for (const std::string text : {"\xff", "a\x80z", "\xed\xa0\x80", "\xe2\x82", "\xe2\x82 \xac",
                                 "\xc3\xa9\xe9", "\xf4\x90\x80\x80", "\xc0\x80", "\xf0\x9f\x98"}) {
    EXPECT_EQ(byte_level.encode(text), bytes_of(text));
    EXPECT_EQ(byte_level.decode(byte_level.encode(text)), text);
    EXPECT_EQ(fallback.decode(fallback.encode(text)), text);
  }
  EXPECT_EQ(fallback.encode("\xed\xa0\x80"), (Ids{257, 0xed, 0xa0, 0x80}));
}

TEST(Tokenizer, AnInvalidByteWithoutATokenIsEncodedAsTheReplacementCharacter) {
  Json file = byte_level_file();
  file["model"]["vocab"].erase(byte_char(0xff));
  const Tokenizer tokenizer = parse(file);
  EXPECT_EQ(tokenizer.encode("a\xff"), bytes_of("a\xEF\xBF\xBD"));
}

TEST(Tokenizer, InvalidBytesSplitLikeSymbols) {
  // " ?[^\s\p{L}\p{N}]+": the space and both bytes are one word, so they merge.
  const std::string space = byte_char(' '), b80 = byte_char(0x80), b81 = byte_char(0x81);
  const Tokenizer tokenizer =
      parse(byte_level_file({{space, b80}, {space + b80, b81}, {b81, "a"}}));
  EXPECT_EQ(tokenizer.encode(" \x80\x81"
                             "a"),
            (Ids{257, 'a'}));
}

TEST(Tokenizer, MergesByRankThenFromTheLeft) {
  const Tokenizer tokenizer =
      parse(byte_level_file({{"b", "c"}, {"a", "b"}, {"a", "a"}, {"bc", "d"}}));
  EXPECT_EQ(tokenizer.encode("abc"), (Ids{'a', 256}));
  EXPECT_EQ(tokenizer.encode("abd"), (Ids{257, 'd'}));
  EXPECT_EQ(tokenizer.encode("aaa"), (Ids{258, 'a'}));
  EXPECT_EQ(tokenizer.encode("abcd"), (Ids{'a', 259}));
}

TEST(Tokenizer, LongAndShortWordsMergeAlike) {
  // The same word alone (heap) and cut into words by spaces that never merge (pairwise search).
  std::vector<std::pair<std::string, std::string>> merges;
  for (const char* pair : {"ab", "ba", "aa", "cb", "ca"}) merges.push_back({{pair[0]}, {pair[1]}});
  merges.insert(merges.end(), {{"ab", "ab"}, {"aa", "cb"}, {"a", "ba"}, {"abab", "c"}});
  const Tokenizer tokenizer = parse(byte_level_file(merges));
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    std::string word;
    const auto length = 20 + random() % 26;
    for (unsigned i = 0; i < length; ++i) word.push_back(static_cast<char>('a' + random() % 3));
    // Merges never cross "dd", so the word behaves alone and within a longer one alike.
    const Ids one = tokenizer.encode(word + "dd" + word);
    Ids two = tokenizer.encode(word);
    two.insert(two.end(), {'d', 'd'});
    const Ids again = tokenizer.encode(word);
    two.insert(two.end(), again.begin(), again.end());
    EXPECT_EQ(one, two) << word;
  }
}

TEST(Tokenizer, AMegabyteWithoutASpaceIsQuick) {
  Json file = byte_level_file({{"a", "a"}, {"aa", "aa"}, {"aaaa", "aaaa"}, {"a", "b"}});
  const Tokenizer tokenizer = parse(file);
  std::string text;
  std::mt19937 random(3);
  while (text.size() < 1000000) text.push_back(random() % 9 == 0 ? 'b' : 'a');
  const auto start = std::chrono::steady_clock::now();
  const Ids ids = tokenizer.encode(text);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  EXPECT_EQ(tokenizer.decode(ids), text);
  EXPECT_LT(seconds.count(), 30);  // a quadratic merge takes many minutes, even on slow machines
}

TEST(Tokenizer, CombiningMarksInTheMillionsAreQuick) {
  Json file = byte_level_file();
  file["normalizer"] = {{"type", "NFC"}};
  const Tokenizer tokenizer = parse(file);
  std::string text = "a", sorted = "a";
  for (int i = 0; i < 100000; ++i) text += "\u0301\u0323";
  const Ids ids = tokenizer.encode(text);
  EXPECT_EQ(tokenizer.decode(ids).substr(0, 7), "\u1ea1\u0323\u0323");
  EXPECT_EQ(ids.size(), text.size());  // the first dot below goes into U+1EA1, two bytes for one
}

TEST(Tokenizer, FallbackAndUnknownCharacters) {
  Json file = byte_fallback_file();
  const Tokenizer tokenizer = parse(file);
  EXPECT_EQ(tokenizer.encode("ab \u00e9"), (Ids{263, 257, 0xc3, 0xa9}));
  EXPECT_EQ(tokenizer.decode(Ids{263, 257, 0xc3, 0xa9}), "ab \u00e9");
  EXPECT_EQ(tokenizer.encode(""), Ids{});
  file["model"]["byte_fallback"] = false;
  EXPECT_EQ(parse(file).encode("ab \u00e9\u00e9c"), (Ids{263, 257, 256, 260}));
  file["model"]["fuse_unk"] = false;
  EXPECT_EQ(parse(file).encode("ab \u00e9\u00e9c"), (Ids{263, 257, 256, 256, 260}));
}

TEST(Tokenizer, MergesWhoseTokensHoldSpaces) {
  Json file = byte_fallback_file();
  auto& model = file["model"];
  for (const char* token : {" ", "  ", "\u2581 "}) model["vocab"][token] = model["vocab"].size();
  model["merges"].push_back("   ");       // " " and " "
  model["merges"].push_back("\u2581  ");  // U+2581 and " "
  file.erase("normalizer");
  const Tokenizer tokenizer = parse(file);
  EXPECT_EQ(tokenizer.encode("   "), (Ids{265, 264}));
}

TEST(Tokenizer, AddedTokensLongestFirst) {
  Json file = byte_level_file();
  const auto added = [](int id, const char* content, bool special, bool normalized) {
    return Json{
        {"id", id},        {"content", content}, {"special", special},  {"normalized", normalized},
        {"lstrip", false}, {"rstrip", false},    {"single_word", false}};
  };
  file["normalizer"] = {{"type", "Lowercase"}};
  file["added_tokens"] = {added(300, "  ", false, true), added(301, "    ", false, true),
                          added(302, "<S>", true, false), added(303, "NORM", false, true)};
  const Tokenizer tokenizer = parse(file);
  EXPECT_EQ(tokenizer.encode("     "), (Ids{301, ' '}));
  EXPECT_EQ(tokenizer.encode("a<S>   b"), (Ids{'a', 302, 300, ' ', 'b'}));
  EXPECT_EQ(tokenizer.encode("<s>"), bytes_of("<s>"));             // not normalized: exact
  EXPECT_EQ(tokenizer.encode("norm Norm"), (Ids{303, ' ', 303}));  // normalized: either
  EXPECT_EQ(tokenizer.vocab_size(), 304);
  EXPECT_EQ(tokenizer.decode(Ids{'a', 302, 'b', 999, -1, 290}), "ab");
  EXPECT_EQ(tokenizer.decode(Ids{'a', 302, 'b'}, false), "a<S>b");
  EXPECT_EQ(tokenizer.decode(Ids{303}), "NORM");  // not special
}

TEST(Tokenizer, AddedTokensStripAndStandAlone) {
  Json file = byte_level_file();
  file["added_tokens"] = {
      {{"id", 256}, {"content", "<l>"}, {"lstrip", true}, {"normalized", false}},
      {{"id", 257}, {"content", "<r>"}, {"rstrip", true}, {"normalized", false}},
      {{"id", 258}, {"content", "word"}, {"single_word", true}, {"normalized", false}}};
  const Tokenizer tokenizer = parse(file);
  EXPECT_EQ(tokenizer.encode("a \n<l> b"), (Ids{'a', 256, ' ', 'b'}));
  EXPECT_EQ(tokenizer.encode("a <r> \nb"), (Ids{'a', ' ', 257, 'b'}));
  EXPECT_EQ(tokenizer.encode("<r>  <l>"), (Ids{257, 256}));
  EXPECT_EQ(tokenizer.encode("a word."), (Ids{'a', ' ', 258, '.'}));
  EXPECT_EQ(tokenizer.encode("swords"), bytes_of("swords"));
}

TEST(Tokenizer, TemplatesPutSpecialTokensAround) {
  Json file = byte_level_file();
  file["added_tokens"] = {{{"id", 256}, {"content", "<s>"}, {"special", true}},
                          {{"id", 257}, {"content", "</s>"}, {"special", true}}};
  const Json ids = {{"<s>", {{"id", "<s>"}, {"ids", {256}}, {"tokens", {"<s>"}}}},
                    {"</s>", {{"id", "</s>"}, {"ids", {257}}, {"tokens", {"</s>"}}}}};
  file["post_processor"] = {{"type", "TemplateProcessing"},
                            {"single",
                             {{{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}},
                              {{"Sequence", {{"id", "A"}, {"type_id", 0}}}},
                              {{"SpecialToken", {{"id", "</s>"}, {"type_id", 0}}}}}},
                            {"special_tokens", ids}};
  const Tokenizer tokenizer = parse(file);
  EXPECT_EQ(tokenizer.encode("a"), (Ids{256, 'a', 257}));
  EXPECT_EQ(tokenizer.encode("a", false), (Ids{'a'}));
  file["post_processor"]["special_tokens"]["<s>"]["ids"] = {9999};
  EXPECT_THROW(parse(file), Error);
}

TEST(TextStream, NeverShowsHalfACharacter) {
  const Tokenizer tokenizer = parse(byte_level_file());
  TextStream stream(tokenizer);
  const std::string emoji = "\xF0\x9F\x98\x81";
  EXPECT_EQ(stream.push('a'), "a");
  EXPECT_EQ(stream.push(0xF0), "");
  EXPECT_EQ(stream.push(0x9F), "");
  EXPECT_EQ(stream.push(0x98), "");
  EXPECT_EQ(stream.push(0x81), emoji);
  EXPECT_EQ(stream.push(0xF0), "");
  EXPECT_EQ(stream.push('b'),
            "\uFFFD"
            "b");
  EXPECT_EQ(stream.push(0xE2), "");
  EXPECT_EQ(stream.flush(), "\uFFFD");
  EXPECT_EQ(stream.flush(), "");
  EXPECT_EQ(stream.push('c'), "c");
}

TEST(TextStream, AgreesWithDecodeForRandomIds) {
  Json metaspace = byte_fallback_file();
  metaspace["decoder"] = {{"type", "Metaspace"}, {"replacement", "\u2581"}};
  Json ends = byte_fallback_file();
  ends["decoder"]["decoders"][3] = {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 2}};
  Json replaced = byte_fallback_file();
  replaced["decoder"]["decoders"].push_back(
      {{"type", "Replace"}, {"pattern", {{"Regex", "a+b"}}}, {"content", "-"}});
  Json none = byte_fallback_file();
  none["decoder"] = nullptr;
  for (const Json& file :
       {byte_level_file(), byte_fallback_file(), metaspace, ends, replaced, none}) {
    const Tokenizer tokenizer = parse(file);
    std::mt19937 random(11);
    for (int round = 0; round < 300; ++round) {
      Ids ids;
      const auto length = random() % 30;
      for (unsigned i = 0; i < length; ++i) {
        const bool any = random() % 2 == 0;
        ids.push_back(static_cast<TokenId>(any ? random() % 270 : 257 + random() % 3));
      }
      std::string pending = tokenizer.decode(ids), expected, shown;
      drain_utf8(pending, true, expected);
      TextStream stream(tokenizer);
      for (const TokenId id : ids) {
        const std::string part = stream.push(id);
        EXPECT_EQ(valid_utf8_prefix(part), part.size());
        shown += part;
      }
      EXPECT_EQ(shown + stream.flush(), expected) << file["decoder"];
    }
  }
}

TEST(Tokenizer, SeveralThreadsAtOnce) {
  Json file = byte_level_file({{"a", "b"}, {"ab", "c"}});
  file["normalizer"] = {{"type", "NFC"}};
  file["pre_tokenizer"] = {
      {"type", "Sequence"},
      {"pretokenizers",
       {{{"type", "Split"}, {"pattern", {{"Regex", "\\d+|[a-c]+"}}}, {"behavior", "Isolated"}},
        {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}}}};
  const Tokenizer tokenizer = parse(file);
  const std::string text = "abc 123 abcabc e\u0301 \xff zz";
  const Ids expected = tokenizer.encode(text);
  std::vector<int> wrong(4);
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < wrong.size(); ++i) {
    threads.emplace_back([&, i] {
      for (int round = 0; round < 200; ++round) wrong[i] += tokenizer.encode(text) != expected;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4));
}

std::string error_of(const std::string& text, ErrorCode code) {
  try {
    Tokenizer::parse(text, "test.json");
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no error for " << text.substr(0, 200);
  return "";
}

TEST(TokenizerErrors, UnsupportedComponentsAreNamed) {
  const auto message = [](const char* member, const Json& value) {
    Json file = byte_level_file();
    file[member] = value;
    return error_of(file.dump(), ErrorCode::unsupported);
  };
  const auto names = [](const std::string& text, const std::string& type,
                        const std::string& other) {
    EXPECT_NE(text.find(type), std::string::npos) << text;
    EXPECT_NE(text.find(other), std::string::npos) << text;
  };
  names(message("normalizer", {{"type", "BertNormalizer"}}), "BertNormalizer", "NFKC");
  names(message("pre_tokenizer", {{"type", "UnicodeScripts"}}), "UnicodeScripts", "ByteLevel");
  names(message("post_processor", {{"type", "RobertaProcessing"}}), "RobertaProcessing",
        "TemplateProcessing");
  names(message("decoder", {{"type", "WordPiece"}}), "WordPiece", "ByteFallback");
  names(message("model", {{"type", "Unigram"}, {"vocab", Json::array()}}), "Unigram", "BPE");
  names(message("pre_tokenizer",
                {{"type", "Split"}, {"pattern", {{"String", "a"}}}, {"behavior", "Sideways"}}),
        "Sideways", "Isolated");
  names(message("pre_tokenizer", {{"type", "Split"}, {"pattern", {{"Regex", "\\h+"}}}}), "\\h",
        "test.json");
  names(message("pre_tokenizer", {{"type", "Split"}, {"pattern", {{"Regex", "(a"}}}}), "(a",
        "PCRE2");
  Json file = byte_level_file();
  file["model"]["continuing_subword_prefix"] = "##";
  names(error_of(file.dump(), ErrorCode::unsupported), "continuing_subword_prefix", "##");
}

TEST(TokenizerErrors, BrokenFilesAreRefused) {
  const auto refused = [](const auto& change) {
    Json file = byte_level_file({{"a", "b"}});
    change(file);
    return error_of(file.dump(), ErrorCode::bad_data);
  };
  EXPECT_NE(error_of("{", ErrorCode::bad_data).find("test.json"), std::string::npos);
  error_of("[]", ErrorCode::bad_data);
  error_of("\xff", ErrorCode::bad_data);
  error_of("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"\xff\":1},\"merges\":[]}}",
           ErrorCode::bad_data);
  refused([](Json& file) { file.erase("model"); });
  refused([](Json& file) { file["model"] = 3; });
  refused([](Json& file) { file["model"]["vocab"] = Json::array(); });
  refused([](Json& file) { file["model"]["vocab"]["x"] = -1; });
  refused([](Json& file) { file["model"]["vocab"]["x"] = 1.5; });
  refused([](Json& file) { file["model"]["vocab"]["x"] = 1000000000; });
  refused([](Json& file) { file["model"]["vocab"]["x"] = 18446744073709551615u; });
  refused([](Json& file) { file["model"]["vocab"]["xx"] = 5; });  // byte 5 has it
  refused([](Json& file) { file["model"]["unk_token"] = "nobody"; });
  refused([](Json& file) { file["model"]["merges"] = {"a z q"}; });
  refused([](Json& file) { file["model"]["merges"] = {7}; });
  refused([](Json& file) { file["model"]["byte_fallback"] = "yes"; });
  const std::string unknown = refused([](Json& file) { file["model"]["merges"] = {"a zz"}; });
  EXPECT_NE(unknown.find("merge 0"), std::string::npos) << unknown;
  EXPECT_NE(unknown.find("zz"), std::string::npos) << unknown;
  refused([](Json& file) { file["added_tokens"] = {{{"id", 9}, {"content", "other"}}}; });
  refused([](Json& file) { file["added_tokens"] = {{{"id", -9}, {"content", "x"}}}; });
  refused([](Json& file) { file["added_tokens"] = {{{"id", 900}, {"content", 5}}}; });
  refused([](Json& file) { file["added_tokens"] = "x"; });
  refused([](Json& file) { file["pre_tokenizer"] = {{"type", 5}}; });
  refused([](Json& file) { file["pre_tokenizer"] = {{"type", "Sequence"}}; });
  refused([](Json& file) {
    Json nested = {{"type", "NFC"}};
    for (int i = 0; i < 40; ++i) nested = {{"type", "Sequence"}, {"normalizers", {nested}}};
    file["normalizer"] = nested;
  });
  refused([](Json& file) {
    file["decoder"] = {{"type", "Strip"}, {"content", " "}, {"start", -1}, {"stop", 0}};
  });
  EXPECT_THROW(Tokenizer::load("/nonexistent/tokenizer.json"), Error);
}

TEST(TokenizerErrors, ExplosionsAreErrorsNotHangs) {
  Json file = byte_level_file();
  Json doubling = Json::array();
  for (int i = 0; i < 40; ++i) {
    doubling.push_back(
        {{"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", "aaaaaaaa"}});
  }
  file["normalizer"] = {{"type", "Sequence"}, {"normalizers", doubling}};
  EXPECT_THROW(parse(file).encode("a"), Error);
  file["normalizer"] = nullptr;
  file["pre_tokenizer"] = {
      {"type", "Split"}, {"pattern", {{"Regex", "(a+)+(?=b)"}}}, {"behavior", "Isolated"}};
  EXPECT_THROW(parse(file).encode(std::string(60, 'a')), Error);
}

}  // namespace
}  // namespace krait
