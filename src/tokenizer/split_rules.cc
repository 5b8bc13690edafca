#include "tokenizer/split_rules.h"

#include "text/utf8.h"
#include "tokenizer/char_class.h"

namespace krait {
namespace {

constexpr std::string_view kGpt2 =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr std::string_view kGpt2Grouped =
    R"('(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr std::string_view kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr unsigned kLetterNumberSpace = kLetter | kNumber | kSpace;

/// Reads characters of one piece with their classes.
class Cursor {
 public:
  Cursor(const char* end, const std::uint8_t* classes) : end_(end), classes_(classes) {}

  struct Char {
    char32_t value;
    unsigned kind;     ///< letter, number, space or none of them: 0
    const char* next;  ///< just behind it
  };
  /// The character at p < end.
  Char at(const char* p) const {
    const auto byte = static_cast<unsigned char>(*p);
    if (byte < 0x80) return {byte, classes_[byte] & kLetterNumberSpace, p + 1};
    const CodePoint c = code_point_at(p);
    return {c.value, classes_[c.value] & kLetterNumberSpace, p + c.size};
  }
  /// The end of the run of characters of this kind that begins at p.
  const char* skip(const char* p, unsigned kind) const {
    while (p < end_) {
      const Char c = at(p);
      if (c.kind != kind) break;
      p = c.next;
    }
    return p;
  }
  const char* end() const { return end_; }

 private:
  const char* end_;
  const std::uint8_t* classes_;
};

// The letters after an apostrophe that end a contraction: 's 't 'm 'd 're 've 'll; 0 if none.
// Without case, U+017F (long s) is an s as well.
std::size_t contraction(const char* p, const char* end, bool ignore_case) {
  if (end - p < 2) return 0;
  const auto lower = [&](char c) {
    return ignore_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  };
  const char first = lower(p[1]);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return 2;
  if (end - p < 3) return 0;
  const char second = lower(p[2]);
  if ((first == 'r' && second == 'e') || (first == 'v' && second == 'e') ||
      (first == 'l' && second == 'l')) {
    return 3;
  }
  return ignore_case && p[1] == '\xC5' && p[2] == '\xBF' ? 3 : 0;
}

// \s+(?!\S)|\s+ : the whole run at the end of the piece, else all but its last character if there
// are two or more.
const char* whitespace(const Cursor& cursor, const char* p) {
  const char* last = p;
  const char* q = p;
  while (q < cursor.end()) {
    const Cursor::Char c = cursor.at(q);
    if (c.kind != kSpace) return last > p ? last : q;
    last = q;
    q = c.next;
  }
  return q;
}

const char* gpt2_word(const Cursor& cursor, const char* p) {
  if (*p == '\'') {
    if (const std::size_t size = contraction(p, cursor.end(), false)) return p + size;
  }
  const char* start = p;
  if (*p == ' ' && p + 1 < cursor.end()) ++start;
  const Cursor::Char c = cursor.at(start);
  if (c.kind == kSpace) return whitespace(cursor, p);
  return cursor.skip(c.next, c.kind);
}

const char* skip_newlines(const Cursor& cursor, const char* p) {
  while (p < cursor.end() && (*p == '\r' || *p == '\n')) ++p;
  return p;
}

const char* llama3_word(const Cursor& cursor, const char* p, int max_digits) {
  if (*p == '\'') {
    if (const std::size_t size = contraction(p, cursor.end(), true)) return p + size;
  }
  const Cursor::Char c = cursor.at(p);
  if (c.kind == kLetter) return cursor.skip(c.next, kLetter);
  if (c.kind == kNumber) {
    const char* q = c.next;
    for (int digits = 1; digits < max_digits && q < cursor.end(); ++digits) {
      const Cursor::Char digit = cursor.at(q);
      if (digit.kind != kNumber) break;
      q = digit.next;
    }
    return q;
  }
  const bool has_next = c.next < cursor.end();
  const unsigned next_kind = has_next ? cursor.at(c.next).kind : unsigned{kSpace};
  if (next_kind == kLetter && c.value != '\r' && c.value != '\n') {
    return cursor.skip(c.next, kLetter);
  }
  if (c.kind == 0 || (c.value == ' ' && has_next && next_kind == 0)) {
    return skip_newlines(cursor, cursor.skip(c.next, 0));
  }
  // \s*[\r\n]+ ends behind the last line end of the run.
  const char* behind_newline = nullptr;
  for (const char* q = p; q < cursor.end();) {
    const Cursor::Char space = cursor.at(q);
    if (space.kind != kSpace) break;
    q = space.next;
    if (space.value == '\r' || space.value == '\n') behind_newline = q;
  }
  return behind_newline ? behind_newline : whitespace(cursor, p);
}

template <typename NextWord>
void split(std::string_view text, Range piece, std::vector<Range>& words, const NextWord& next) {
  const char* const begin = text.data();
  const char* const end = begin + piece.end;
  const Cursor cursor(end, char_classes());
  for (const char* p = begin + piece.begin; p < end;) {
    const char* const word_end = next(cursor, p);
    words.push_back(
        {static_cast<std::size_t>(p - begin), static_cast<std::size_t>(word_end - begin)});
    p = word_end;
  }
}

}  // namespace

std::optional<SplitRule> split_rule_of(std::string_view expression) {
  if (expression == kGpt2 || expression == kGpt2Grouped) return SplitRule::gpt2;
  if (expression == kLlama3) return SplitRule::llama3;
  if (expression == kQwen2) return SplitRule::qwen2;
  return std::nullopt;
}

void split_words(SplitRule rule, std::string_view text, Range piece, std::vector<Range>& words) {
  switch (rule) {
    case SplitRule::gpt2:
      return split(text, piece, words, gpt2_word);
    case SplitRule::llama3:
      return split(text, piece, words,
                   [](const Cursor& c, const char* p) { return llama3_word(c, p, 3); });
    case SplitRule::qwen2:
      return split(text, piece, words,
                   [](const Cursor& c, const char* p) { return llama3_word(c, p, 1); });
  }
}

}  // namespace krait
