#include "tokenizer/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>

#include "core/check.h"
#include "core/printable.h"
#include "text/utf8.h"

namespace krait {
namespace {

constexpr std::uint32_t kMatchLimit = 5'000'000;
constexpr std::uint32_t kHeapLimitKib = 64 * 1024;
constexpr std::size_t kMaxExpression = 16 * 1024;

template <auto Free>
struct Deleter {
  template <typename T>
  void operator()(T* p) const noexcept {
    Free(p);
  }
};
using CodePtr = std::unique_ptr<pcre2_code, Deleter<pcre2_code_free>>;
using MatchDataPtr = std::unique_ptr<pcre2_match_data, Deleter<pcre2_match_data_free>>;
using MatchContextPtr = std::unique_ptr<pcre2_match_context, Deleter<pcre2_match_context_free>>;
using JitStackPtr = std::unique_ptr<pcre2_jit_stack, Deleter<pcre2_jit_stack_free>>;

// What one thread needs to run expressions: made at its first match, kept for its lifetime.
struct MatchScratch {
  MatchDataPtr data{pcre2_match_data_create(1, nullptr)};
  MatchContextPtr context{pcre2_match_context_create(nullptr)};
  JitStackPtr jit_stack{pcre2_jit_stack_create(32 * 1024, 4 * 1024 * 1024, nullptr)};

  MatchScratch() {
    check(data && context && jit_stack, ErrorCode::io_error, "no memory for regular expressions");
    pcre2_set_match_limit(context.get(), kMatchLimit);
    pcre2_set_heap_limit(context.get(), kHeapLimitKib);
    pcre2_jit_stack_assign(context.get(), nullptr, jit_stack.get());
  }
};

MatchScratch& match_scratch() {
  thread_local MatchScratch scratch;
  return scratch;
}

// Oniguruma (whose Ruby syntax tokenizer.json is written in) and PCRE2 agree but for some rare
// constructs, which are refused, and for \w, which takes marks and connectors there.
constexpr std::string_view kWordChars =
    R"(\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}\x{B2}\x{B3}\x{B9}\x{BC}-\x{BE}\x{24B6}-\x{24E9})"
    R"(\x{1F130}-\x{1F149}\x{1F150}-\x{1F169}\x{1F170}-\x{1F189})";
constexpr std::string_view kForeign[] = {"\\h", "\\H", "\\K", "\\G", "\\O", "\\y", "\\Y",
                                         "\\b", "\\B", "&&",  "(*",  "(?m", "(?~", "[[:"};

[[noreturn]] void refuse_construct(std::string_view construct, const std::string& expression,
                                   const std::string& where) {
  fail(ErrorCode::unsupported, "{}: '{}' in the regular expression '{}' is not supported", where,
       construct, printable(expression));
}

std::string to_pcre2(const std::string& expression, const std::string& where) {
  std::string out;
  int depth = 0;  // of nested [ ]
  const std::string_view rest = expression;
  for (std::size_t i = 0; i < rest.size(); ++i) {
    for (const std::string_view construct : kForeign) {
      if (rest.substr(i).starts_with(construct)) refuse_construct(construct, expression, where);
    }
    if (rest[i] == '\\' && i + 1 < rest.size()) {
      const char escape = rest[++i];
      if (escape == 'w') {
        out += depth > 0 ? std::string(kWordChars) : fmt::format("[{}]", kWordChars);
      } else if (escape == 'W') {
        if (depth > 0) refuse_construct("[\\W]", expression, where);
        out += fmt::format("[^{}]", kWordChars);
      } else {
        out += {'\\', escape};
      }
      continue;
    }
    if (rest[i] == '[') {
      // A set within a set is a union; PCRE2 has no such sets and gets their members instead.
      const bool plain = i + 1 < rest.size() && rest[i + 1] != '^' && !out.ends_with('-');
      if (++depth == 1) {
        out.push_back('[');
      } else if (!plain) {
        refuse_construct("[[^", expression, where);
      }
      continue;
    }
    if (rest[i] == ']' && depth > 0) {
      if (--depth == 0) out.push_back(']');
      continue;
    }
    out.push_back(rest[i]);
  }
  return out;
}

// PCRE2 knows neither escaped bytes (lone surrogates) nor that U+180E is no longer a space, and
// gets U+FFFD and U+200B instead, which are as long and of the same kind.
bool needs_stand_ins(std::string_view text) {
  return has_escapes(text) || text.find("\xE1\xA0\x8E") != std::string_view::npos;
}

std::string with_stand_ins(std::string_view text) {
  std::string copy(text);
  for (std::size_t i = 0; i + 2 < copy.size(); ++i) {
    if (copy[i] == '\xED' && static_cast<unsigned char>(copy[i + 1]) >= 0xA0) {
      copy.replace(i, 3, "\xEF\xBF\xBD");
    } else if (copy.compare(i, 3, "\xE1\xA0\x8E") == 0) {
      copy.replace(i, 3, "\xE2\x80\x8B");
    }
  }
  return copy;
}

}  // namespace

struct Pattern::Code {
  CodePtr code;
};

Pattern Pattern::parse(const JsonFields& component, const char* key) {
  const JsonFields pattern(component.get(key), component.where() + " " + key);
  if (pattern.has("String")) return literal(pattern.text("String"));
  return regex(pattern.text("Regex"), component.where());
}

Pattern Pattern::literal(std::string text) {
  Pattern pattern;
  pattern.literal_ = std::move(text);
  return pattern;
}

Pattern Pattern::regex(const std::string& expression, const std::string& where) {
  check(expression.size() <= kMaxExpression, ErrorCode::unsupported,
        "{}: a regular expression of {} bytes, at most {} are supported", where, expression.size(),
        kMaxExpression);
  const std::string translated = to_pcre2(expression, where);
  int error = 0;
  PCRE2_SIZE offset = 0;
  CodePtr code(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                             PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C,
                             &error, &offset, nullptr));
  if (!code) {
    std::array<unsigned char, 200> message{};
    pcre2_get_error_message(error, message.data(), message.size());
    fail(ErrorCode::unsupported, "{}: PCRE2 refuses the regular expression '{}' at {}: {}", where,
         printable(translated), offset, reinterpret_cast<const char*>(message.data()));
  }
  pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE);  // without it matching is slower, no more
  Pattern pattern;
  pattern.expression_ = expression;
  pattern.where_ = where;
  pattern.code_ = std::make_shared<const Code>(Code{std::move(code)});
  return pattern;
}

void Pattern::find(std::string_view text, Range piece, std::vector<Range>& matches) const {
  std::string_view subject = text.substr(piece.begin, piece.end - piece.begin);
  if (!code_) {
    if (literal_.empty()) return;
    for (std::size_t at = subject.find(literal_); at != std::string_view::npos;
         at = subject.find(literal_, at + literal_.size())) {
      matches.push_back({piece.begin + at, piece.begin + at + literal_.size()});
    }
    return;
  }
  std::string stand_ins;
  if (needs_stand_ins(subject)) subject = stand_ins = with_stand_ins(subject);
  MatchScratch& scratch = match_scratch();
  const auto match_from = [&](std::size_t at, std::uint32_t options) {
    return pcre2_match(code_->code.get(), reinterpret_cast<PCRE2_SPTR>(subject.data()),
                       subject.size(), at, PCRE2_NO_UTF_CHECK | options, scratch.data.get(),
                       scratch.context.get());
  };
  std::size_t at = 0, last_end = std::string_view::npos;
  while (at <= subject.size()) {
    int rc = match_from(at, 0);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) rc = match_from(at, PCRE2_NO_JIT);
    if (rc == PCRE2_ERROR_NOMATCH) return;
    check(rc >= 0, ErrorCode::unsupported,
          "{}: the regular expression '{}' exceeds the limits of PCRE2 on this text (error "
          "{})",
          where_, printable(expression_), rc);
    const PCRE2_SIZE* offsets = pcre2_get_ovector_pointer(scratch.data.get());
    const Range match{offsets[0], offsets[1]};
    // An empty match at the end of the one before does not count; look one character on.
    if (match.begin < match.end || match.begin != last_end) {
      matches.push_back({piece.begin + match.begin, piece.begin + match.end});
      last_end = match.end;
    }
    at = match.end;
    if (match.begin >= match.end) {
      if (at >= subject.size()) return;
      at += code_point_at(subject.data() + at).size;
    }
  }
}

}  // namespace krait
