// The parts below the tokenizer: UTF-8, classes, normal forms, patterns and pre-tokenizers.
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>
#include <vector>

#include "io/json.h"
#include "text/utf8.h"
#include "tokenizer/byte_alphabet.h"
#include "tokenizer/char_class.h"
#include "tokenizer/normalizer.h"
#include "tokenizer/pre_tokenizer.h"

namespace krait {
namespace {

using Pieces = std::vector<std::string>;

TEST(Utf8, UnitsFollowTable3_7OfUnicode) {
  using enum Utf8Unit::Kind;
  const auto is = [](std::string_view bytes, Utf8Unit::Kind kind, int size) {
    const Utf8Unit unit = utf8_unit(bytes);
    EXPECT_EQ(unit.kind, kind) << bytes;
    EXPECT_EQ(unit.size, size) << bytes;
  };
  is("a", valid, 1);
  is("\xC3\xA9", valid, 2);
  is("\xF4\x8F\xBF\xBF", valid, 4);
  is("\xC0\x80", invalid, 1);          // overlong
  is("\xE0\x9F\xBF", invalid, 1);      // overlong
  is("\xED\xA0\x80", invalid, 1);      // surrogate
  is("\xF4\x90\x80\x80", invalid, 1);  // above U+10FFFF
  is("\xE2\x82(", invalid, 2);
  is("\x80", invalid, 1);
  is("\xE2\x82", incomplete, 2);
  is("\xF0", incomplete, 1);
}

TEST(Utf8, EscapesAreThereAndBack) {
  std::mt19937 random(1);
  for (int round = 0; round < 2000; ++round) {
    std::string bytes;
    const auto size = random() % 24;
    for (unsigned i = 0; i < size; ++i) {
      const auto kind = random() % 4;
      if (kind == 0) bytes += "\u20ac";
      bytes.push_back(
          static_cast<char>(kind < 2 ? 0x20 + random() % 0x60 : 0x80 + random() % 0x80));
    }
    const std::string escaped = escape_invalid_bytes(bytes);
    EXPECT_EQ(has_escapes(escaped), valid_utf8_prefix(bytes) != bytes.size());
    std::string back;
    append_unescaped(escaped, back);
    EXPECT_EQ(back, bytes);
  }
}

TEST(ByteAlphabet, MapsEveryByteToACharacterOfItsOwn) {
  std::map<char32_t, int> seen;
  for (int byte = 0; byte < 256; ++byte) {
    const char32_t c = byte_to_char(static_cast<unsigned char>(byte));
    EXPECT_EQ(char_to_byte(c), byte);
    EXPECT_EQ(seen[c]++, 0);
  }
  EXPECT_EQ(byte_to_char(' '), 0x120u);
  EXPECT_EQ(byte_to_char('\n'), 0x10Au);
  EXPECT_EQ(char_to_byte(0x4E2D), -1);
}

TEST(CharClass, KnowsTheUsualOnes) {
  const auto* classes = char_classes();
  EXPECT_EQ(classes[U'a'], kLetter | kWord);
  EXPECT_EQ(classes[U'7'], kNumber | kWord);
  EXPECT_EQ(classes[U'_'], kPunctuation | kWord);
  EXPECT_EQ(classes[U'$'], kPunctuation);
  EXPECT_EQ(classes[U' '], kSpace);
  EXPECT_EQ(classes[0x3000] & ~(kNfkcUnsafe), kSpace);
  EXPECT_EQ(classes[0x1C], 0);  // a separator in ASCII only
  EXPECT_TRUE(classes[0xB2] & kNumber);
  EXPECT_TRUE(classes[0x0966] & kNumber);
  EXPECT_TRUE(classes[0x301] & kNfcUnsafe);
  EXPECT_FALSE(classes[0xE9] & kNfcUnsafe);
  EXPECT_FALSE(classes[0xFB01] & kNfcUnsafe);
  EXPECT_TRUE(classes[0xFB01] & kNfkcUnsafe);
  EXPECT_EQ(classes[0xDC80], 0);
}

std::string normal(UnicodeForm form, std::string_view text) {
  std::string storage;
  return std::string(normalize_unicode(form, text, storage));
}

TEST(Normalizer, UnicodeForms) {
  using enum UnicodeForm;
  EXPECT_EQ(normal(nfc, "cafe\u0301 na\u0308ive"), "caf\u00e9 n\u00e4ive");
  EXPECT_EQ(normal(nfc, "q\u0307\u0323"), "q\u0323\u0307");
  EXPECT_EQ(normal(nfc, "\u00e9\u0323"), "\u1eb9\u0301");
  EXPECT_EQ(normal(nfc, "\u1112\u1161\u11ab"), "\ud55c");
  EXPECT_EQ(normal(nfc, "\uac00\u11a8"), "\uac01");
  EXPECT_EQ(normal(nfc, "\u0958"), "\u0915\u093c");  // composition exclusion
  EXPECT_EQ(normal(nfc, "\u212b\u0344"), "\u00c5\u0308\u0301");
  EXPECT_EQ(normal(nfc, "\ufb01\u00b2"), "\ufb01\u00b2");
  EXPECT_EQ(normal(nfkc, "\ufb01\u00b2\uff21\u00a0"), "fi2A ");
  // Escaped bytes stay and separate: e, byte 0x80, acute accent.
  const std::string byte = escape_invalid_bytes("\x80");
  EXPECT_EQ(normal(nfc, "e" + byte + "\u0301"), "e" + byte + "\u0301");
  EXPECT_EQ(normal(nfc, byte + "e\u0301"), byte + "\u00e9");
}

TEST(Normalizer, NormalTextIsNotCopied) {
  std::string storage;
  const std::string text = "Plain text, caf\u00e9, \u4e2d\u6587 \U0001f600";
  EXPECT_EQ(normalize_unicode(UnicodeForm::nfc, text, storage).data(), text.data());
}

TEST(Normalizer, Steps) {
  const auto run = [](const char* json, std::string_view text) {
    std::string storage;
    return std::string(normalize(parse_normalizer(Json::parse(json), "test"), text, storage));
  };
  EXPECT_EQ(run(R"({"type":"Lowercase"})", "\u0130A\u03a3"), "i\u0307a\u03c3");
  EXPECT_EQ(run(R"({"type":"Strip"})", " \n a b\u3000"), "a b");
  EXPECT_EQ(run(R"({"type":"Strip","strip_left":false,"strip_right":true})", " a "), " a");
  EXPECT_EQ(run(R"({"type":"Prepend","prepend":"_"})", ""), "");
  EXPECT_EQ(run(R"({"type":"Replace","pattern":{"String":"ab"},"content":"$0"})", "abab"), "$0$0");
  EXPECT_EQ(run(R"({"type":"Replace","pattern":{"Regex":"\\s+"},"content":" "})", "a \n\tb"),
            "a b");
  EXPECT_EQ(run(R"({"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"_"},
                    {"type":"Sequence","normalizers":[{"type":"Strip"}]},
                    {"type":"Replace","pattern":{"String":"_"},"content":"<>"}]})",
                " a "),
            "<> a");
}

Pieces split(const char* json, std::string_view text) {
  const PreTokenizer pre_tokenizer = parse_pre_tokenizer(Json::parse(json), "test");
  Words words;
  pre_tokenize(pre_tokenizer, text, true, words);
  Pieces pieces;
  for (const Range& range : words.ranges) {
    pieces.emplace_back(words.text.substr(range.begin, range.end - range.begin));
  }
  return pieces;
}

TEST(PreTokenizer, SplitBehaviors) {
  const auto run = [](const char* behavior, bool invert) {
    const std::string json =
        std::string(R"({"type":"Split","pattern":{"String":"-"},"behavior":")") + behavior +
        R"(","invert":)" + (invert ? "true" : "false") + "}";
    return split(json.c_str(), "the-final--countdown-");
  };
  EXPECT_EQ(run("Isolated", false), (Pieces{"the", "-", "final", "-", "-", "countdown", "-"}));
  EXPECT_EQ(run("Removed", false), (Pieces{"the", "final", "countdown"}));
  EXPECT_EQ(run("Removed", true), (Pieces{"-", "-", "-", "-"}));
  EXPECT_EQ(run("MergedWithPrevious", false), (Pieces{"the-", "final-", "-", "countdown-"}));
  EXPECT_EQ(run("MergedWithNext", false), (Pieces{"the", "-final", "-", "-countdown", "-"}));
  EXPECT_EQ(run("Contiguous", false), (Pieces{"the", "-", "final", "--", "countdown", "-"}));
}

TEST(PreTokenizer, ClassesOfCharacters) {
  EXPECT_EQ(split(R"({"type":"Digits","individual_digits":true})", "a12\u0663b"),
            (Pieces{"a", "1", "2", "\u0663", "b"}));
  EXPECT_EQ(split(R"({"type":"Digits","individual_digits":false})", "a12\u0663b"),
            (Pieces{"a", "12\u0663", "b"}));
  EXPECT_EQ(split(R"({"type":"Punctuation","behavior":"Contiguous"})", "a!?\u3002b$"),
            (Pieces{"a", "!?\u3002", "b", "$"}));
  EXPECT_EQ(split(R"({"type":"Whitespace"})", "a_b, c!  d"), (Pieces{"a_b", ",", "c", "!", "d"}));
  EXPECT_EQ(split(R"({"type":"WhitespaceSplit"})", " a,  b "), (Pieces{"a,", "b"}));
}

TEST(PreTokenizer, Metaspace) {
  EXPECT_EQ(split(R"({"type":"Metaspace","replacement":"_","add_prefix_space":true})", "a  b"),
            (Pieces{"_a", "_", "_b"}));
  EXPECT_EQ(split(R"({"type":"Metaspace","replacement":"_","prepend_scheme":"never"})", "a b"),
            (Pieces{"a", "_b"}));
  EXPECT_EQ(
      split(R"({"type":"Metaspace","replacement":"_","prepend_scheme":"first","split":false})",
            "a b"),
      (Pieces{"_a_b"}));
  // "first" is the first piece of the input only.
  EXPECT_EQ(split(R"({"type":"Sequence","pretokenizers":[{"type":"WhitespaceSplit"},
                      {"type":"Metaspace","replacement":"_","prepend_scheme":"first"}]})",
                  "a b"),
            (Pieces{"_a", "b"}));
}

TEST(PreTokenizer, BytesBecomeCharactersBeforeTheStepsThatFollow) {
  // The second byte of U+00F2 is 0xB2, which is written as U+00B2, a number.
  EXPECT_EQ(split(R"({"type":"Sequence","pretokenizers":[
                      {"type":"ByteLevel","add_prefix_space":true,"use_regex":false},
                      {"type":"Digits","individual_digits":true}]})",
                  "\u00f2"),
            (Pieces{"\u0120\u00c3", "\u00b2"}));
}

// The rules by hand against the expressions themselves; "(?:)" keeps them from being recognized.
TEST(SplitRules, AgreeWithTheirExpressions) {
  const std::map<SplitRule, std::string> expressions = {
      {SplitRule::gpt2,
       R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)"},
      {SplitRule::llama3,
       R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
      {SplitRule::qwen2,
       R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"}};
  const Pieces alphabet = {
      "a",      "s",      "S",      "T",      "l",          "L",      "r",
      "e",      "v",      "d",      "m",      "'",          "'",      " ",
      " ",      "  ",     "\n",     "\r\n",   "\t",         "1",      "23",
      "\u0663", "\u00b2", "\u00e9", "\u4e2d", "\u0301",     "\u017f", "\u00a0",
      "\u3000", "\u180e", "!",      "-",      "\U0001f600", "\xff",   std::string(1, '\0')};
  std::mt19937 random(5);
  for (const auto& [rule, expression] : expressions) {
    ASSERT_EQ(split_rule_of(expression), rule);
    const Pattern pattern = Pattern::regex("(?:)(?:" + expression + ")", "test");
    for (int round = 0; round < 3000; ++round) {
      std::string text;
      const auto size = 1 + random() % 12;
      for (unsigned i = 0; i < size; ++i) text += alphabet[random() % alphabet.size()];
      text = escape_invalid_bytes(text);
      std::vector<Range> by_hand, by_expression;
      split_words(rule, text, {0, text.size()}, by_hand);
      pattern.find(text, {0, text.size()}, by_expression);
      ASSERT_EQ(by_hand.size(), by_expression.size()) << testing::PrintToString(text);
      for (std::size_t i = 0; i < by_hand.size(); ++i) {
        ASSERT_EQ(by_hand[i].begin, by_expression[i].begin) << testing::PrintToString(text);
        ASSERT_EQ(by_hand[i].end, by_expression[i].end) << testing::PrintToString(text);
      }
    }
  }
}

TEST(Pattern, ReadsExpressionsAsOniguruma) {
  const auto matches = [](const char* expression, std::string_view text) {
    std::vector<Range> ranges;
    Pattern::regex(expression, "test").find(text, {0, text.size()}, ranges);
    Pieces pieces;
    for (const Range& range : ranges) {
      pieces.emplace_back(text.substr(range.begin, range.end - range.begin));
    }
    return pieces;
  };
  EXPECT_EQ(matches("\\w+", "a\u0301b c\u2460"), (Pieces{"a\u0301b", "c"}));
  EXPECT_EQ(matches("[\\w']+", "it's"), (Pieces{"it's"}));
  EXPECT_EQ(matches("[^(\\s|[.,!])]+", "a,b (c)|d"), (Pieces{"a", "b", "c", "d"}));
  EXPECT_EQ(matches("^.", "ab\ncd"), (Pieces{"a", "c"}));
  EXPECT_EQ(matches("\\s", "a\u180eb\u00a0c"), (Pieces{"\u00a0"}));
  EXPECT_EQ(matches("x*", "axx").size(), 2u);
  EXPECT_EQ(matches(".", escape_invalid_bytes("\xff")).size(), 1u);
}

}  // namespace
}  // namespace krait
