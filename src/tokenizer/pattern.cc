#include "tokenizer/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>

#include "core/check.h"
#include "io/printable.h"
#include "tokenizer/utf8.h"

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

// Oniguruma (the Ruby syntax that tokenizer.json is written in) and PCRE2 agree but for these.
std::string_view foreign_syntax(std::string_view expression) {
  for (const std::string_view construct :
       {"\\h", "\\H", "&&", "\\K", "\\G", "(*", "(?m", "\\O", "(?~", "\\y", "\\Y"}) {
    for (std::size_t i = expression.find(construct); i != std::string_view::npos;
         i = expression.find(construct, i + 1)) {
      std::size_t backslashes = 0;
      while (backslashes < i && expression[i - 1 - backslashes] == '\\') ++backslashes;
      if (backslashes % 2 == 0) return construct;
    }
  }
  return {};
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

Pattern Pattern::parse(const Component& component, const char* key) {
  const Component pattern{component.get(key), component.where + " " + key};
  check(pattern.json.is_object(), ErrorCode::bad_data,
        "{}: expected an object with 'String' or 'Regex', got {}", pattern.where,
        pattern.json.type_name());
  if (pattern.has("String")) return literal(pattern.string("String"));
  return regex(pattern.string("Regex"), component.where);
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
  const std::string_view foreign = foreign_syntax(expression);
  check(foreign.empty(), ErrorCode::unsupported,
        "{}: '{}' in the regular expression '{:.200}' is not supported", where, foreign,
        printable(expression));
  int error = 0;
  PCRE2_SIZE offset = 0;
  CodePtr code(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(expression.data()), expression.size(),
                             PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C,
                             &error, &offset, nullptr));
  if (!code) {
    std::array<unsigned char, 200> message{};
    pcre2_get_error_message(error, message.data(), message.size());
    fail(ErrorCode::unsupported, "{}: PCRE2 refuses the regular expression '{:.200}' at {}: {}",
         where, printable(expression), offset, reinterpret_cast<const char*>(message.data()));
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
          "{}: the regular expression '{:.200}' exceeds the limits of PCRE2 on this text (error "
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
