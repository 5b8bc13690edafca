#include "text/jinja_lexer.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "core/check.h"
#include "core/printable.h"
#include "text/jinja_text.h"
#include "text/utf8.h"

namespace krait::jinja {
namespace {

using Kind = Token::Kind;

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

/// One kind of line end, and none at the very end.
std::string with_plain_line_ends(std::string_view source) {
  std::string out;
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
      out += '\n';
    } else {
      out += source[i];
    }
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

class Lexer {
 public:
  Lexer(std::string_view source, const std::string& where)
      : where_(where), source_(with_plain_line_ends(source)), rest_(source_) {}

  std::vector<Token> run() {
    while (!rest_.empty()) read_data();
    add(Kind::end, "");
    return std::move(tokens_);
  }

 private:
  template <typename... Args>
  [[noreturn]] void refuse(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
    fail(code, "{}:{}: {}", where_, line_, fmt::format(format, std::forward<Args>(args)...));
  }

  void add(Kind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }

  /// Takes `size` bytes away; what follows counts as a line's beginning behind a line end.
  std::string_view take(std::size_t size) {
    const std::string_view taken = rest_.substr(0, size);
    line_ += static_cast<int>(std::count(taken.begin(), taken.end(), '\n'));
    rest_.remove_prefix(size);
    if (size > 0) line_starts_ = taken.back() == '\n';
    return taken;
  }
  void take_spaces() { take(rest_.size() - strip(rest_, Side::left).size()); }

  /// Text before a tag whose first brace is followed by `sign`: what the tag leaves of it.
  void add_data(std::string_view text, char sign, bool is_block) {
    const int line = line_;
    std::string_view kept = text;
    if (sign == '-') {
      kept = strip(text, Side::right);
    } else if (sign != '+' && is_block) {
      const std::size_t begin = text.rfind('\n') + 1;  // npos + 1 is 0
      if ((begin > 0 || line_starts_) && strip(text.substr(begin), Side::left).empty()) {
        kept = text.substr(0, begin);
      }
    }
    take(text.size());
    if (!kept.empty()) tokens_.push_back({Kind::data, std::string(kept), line});
  }

  void read_data() {
    std::size_t at = rest_.find('{');
    while (at != std::string_view::npos &&
           (at + 1 == rest_.size() ||
            std::string_view("%{#").find(rest_[at + 1]) == std::string_view::npos)) {
      at = rest_.find('{', at + 1);
    }
    if (at == std::string_view::npos) {
      add_data(rest_, '+', false);
      return;
    }
    const char type = rest_[at + 1];
    const char sign = sign_at(at + 2);
    add_data(rest_.substr(0, at), sign, type != '{');
    const std::size_t begin = sign == 0 ? 2 : 3;
    if (type == '#') {
      skip_comment(begin);
    } else if (type == '%' && read_raw(begin)) {
      return;
    } else {
      add(type == '{' ? Kind::variable_begin : Kind::block_begin, "");
      take(begin);
      read_tag(type == '{');
    }
  }

  /// A "-" or "+" at that offset, else 0.
  char sign_at(std::size_t offset) const {
    return offset < rest_.size() && (rest_[offset] == '-' || rest_[offset] == '+') ? rest_[offset]
                                                                                   : '\0';
  }

  /// Behind a tag that ended with `sign`.
  void finish_tag(char sign) {
    if (sign == '-') {
      take_spaces();
    } else if (sign != '+' && rest_.starts_with('\n')) {
      take(1);
    }
  }

  void skip_comment(std::size_t begin) {
    const std::size_t end = rest_.find("#}", begin);
    if (end == std::string_view::npos) refuse(ErrorCode::bad_data, "a comment has no end \"#}}\"");
    const char sign = end > begin ? sign_at(end - 1) : '\0';
    take(end + 2);
    finish_tag(sign);
  }

  /// The length of [-+]? \s* NAME \s* [-+]? %} at `offset`, and its last sign; 0 where it is not.
  std::size_t match_word_tag(std::size_t offset, std::string_view name, char& sign) const {
    std::string_view text = strip(rest_.substr(offset), Side::left);
    if (!text.starts_with(name)) return 0;
    text = strip(text.substr(name.size()), Side::left);
    sign = !text.empty() && (text[0] == '-' || text[0] == '+') ? text[0] : '\0';
    if (sign != 0) text.remove_prefix(1);
    if (!text.starts_with("%}")) return 0;
    return static_cast<std::size_t>(text.data() + 2 - rest_.data()) - offset;
  }

  bool read_raw(std::size_t begin) {
    char sign = 0;
    const std::size_t size = match_word_tag(begin, "raw", sign);
    if (size == 0 || sign == '+') return false;
    take(begin + size);
    if (sign == '-') take_spaces();
    for (std::size_t at = rest_.find("{%"); at != std::string_view::npos;
         at = rest_.find("{%", at + 1)) {
      const char before = sign_at(at + 2);
      const std::size_t name = at + (before == 0 ? 2 : 3);
      const std::size_t length = match_word_tag(name, "endraw", sign);
      if (length == 0) continue;
      add_data(rest_.substr(0, at), before, true);
      take(name - at + length);
      finish_tag(sign);
      return true;
    }
    refuse(ErrorCode::bad_data, "{{% raw %}} has no {{% endraw %}}");
  }

  void read_tag(bool is_variable) {
    std::string closers;  // brackets that are still to come
    const std::string_view end = is_variable ? "}}" : "%}";
    for (;;) {
      take_spaces();
      if (rest_.empty()) refuse(ErrorCode::bad_data, "a tag has no end \"{}\"", end);
      const char sign = sign_at(0);
      if (closers.empty() && !(is_variable && sign == '+') &&
          rest_.substr(sign == 0 ? 0 : 1).starts_with(end)) {
        add(is_variable ? Kind::variable_end : Kind::block_end, "");
        take(end.size() + (sign == 0 ? 0 : 1));
        if (!is_variable) {
          finish_tag(sign);
        } else if (sign == '-') {
          take_spaces();
        }
        return;
      }
      if (is_digit(rest_[0])) {
        read_number();
      } else if (is_name(rest_[0])) {
        std::size_t size = 0;
        while (size < rest_.size() && is_name(rest_[size])) ++size;
        add(Kind::name, std::string(rest_.substr(0, size)));
        take(size);
      } else if (rest_[0] == '"' || rest_[0] == '\'') {
        read_string();
      } else {
        read_operation(closers);
      }
    }
  }

  void read_operation(std::string& closers) {
    for (const std::string_view op :
         {"**", "//", "==", "!=", ">=", "<=", "+", "-", "*", "/", "%", "~", "[",
          "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"}) {
      if (!rest_.starts_with(op)) continue;
      if (const std::size_t bracket = std::string_view("[({").find(op); bracket < 3) {
        closers += "])}"[bracket];
      } else if (op == "]" || op == ")" || op == "}") {
        if (closers.empty() || closers.back() != op[0]) {
          refuse(ErrorCode::bad_data, "\"{}\" closes nothing that is open", op);
        }
        closers.pop_back();
      }
      add(Kind::operation, std::string(op));
      take(op.size());
      return;
    }
    if (static_cast<unsigned char>(rest_[0]) >= 0x80) {
      refuse(ErrorCode::unsupported, "names with letters beyond ASCII are not supported");
    }
    refuse(ErrorCode::bad_data, "\"{}\" is no part of an expression",
           printable(rest_.substr(0, 1)));
  }

  /// The length of (\d+_)*\d+ at `offset`, 0 where there is no digit.
  std::size_t digits(std::size_t offset) const {
    std::size_t end = offset;
    while (end < rest_.size() && (is_digit(rest_[end]) ||
                                  (rest_[end] == '_' && end > offset && is_digit(rest_[end - 1]) &&
                                   end + 1 < rest_.size() && is_digit(rest_[end + 1])))) {
      ++end;
    }
    return end - offset;
  }

  void read_number() {
    std::size_t size = digits(0);
    Kind kind = Kind::integer;
    const bool behind_dot = !tokens_.empty() && tokens_.back().text == "." &&
                            tokens_.back().kind == Kind::operation && rest_.data()[-1] == '.';
    if (!behind_dot) {  // a.0.1 are two keys
      std::size_t real = size;
      if (real < rest_.size() && rest_[real] == '.' && digits(real + 1) > 0) {
        real += 1 + digits(real + 1);
        kind = Kind::real;
      }
      if (real < rest_.size() && (rest_[real] == 'e' || rest_[real] == 'E')) {
        const std::size_t power = real + (sign_at(real + 1) == 0 ? 1 : 2);
        if (digits(power) > 0) {
          real = power + digits(power);
          kind = Kind::real;
        }
      }
      if (kind == Kind::real) size = real;
    }
    if (kind == Kind::integer) size = integer_size(size);
    std::string text(rest_.substr(0, size));
    std::erase(text, '_');
    add(kind, std::move(text));
    take(size);
  }

  /// Of 0b, 0o and 0x numbers, or of decimal ones, where a 0 begins nothing but zeros.
  std::size_t integer_size(std::size_t decimal) const {
    if (rest_[0] != '0') return decimal;
    const char base = rest_.size() > 1 ? static_cast<char>(rest_[1] | 0x20) : '\0';
    const std::string_view allowed = base == 'b'   ? "01"
                                     : base == 'o' ? "01234567"
                                     : base == 'x' ? "0123456789abcdefABCDEF"
                                                   : "0";
    std::size_t end = allowed == "0" ? 1 : 2;
    while (end < rest_.size()) {
      const std::size_t next = rest_[end] == '_' ? end + 1 : end;
      if (next >= rest_.size() || allowed.find(rest_[next]) == std::string_view::npos) break;
      end = next + 1;
    }
    return allowed != "0" && end == 2 ? 1 : end;
  }

  void read_string() {
    const char quote = rest_[0];
    std::size_t end = 1;
    while (end < rest_.size() && rest_[end] != quote) end += rest_[end] == '\\' ? 2 : 1;
    if (end >= rest_.size()) refuse(ErrorCode::bad_data, "a string has no end {}", quote);
    add(Kind::string, unescaped(rest_.substr(1, end - 1)));
    take(end + 1);
  }

  /// The escapes of Python's strings.
  std::string unescaped(std::string_view text) {
    constexpr std::string_view kLetters = "\n\\'\"abfnrtv";
    constexpr std::string_view kMeanings[] = {"",   "\\", "'",  "\"", "\a", "\b",
                                              "\f", "\n", "\r", "\t", "\v"};
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (text[i] != '\\') {
        out += text[i];
        continue;
      }
      const char c = text[++i];
      if (const std::size_t known = kLetters.find(c); known != std::string_view::npos) {
        out += kMeanings[known];
      } else if (c >= '0' && c <= '7') {
        std::size_t size = 1;
        while (size < 3 && i + size < text.size() && text[i + size] >= '0' &&
               text[i + size] <= '7') {
          ++size;
        }
        append_escape(text.substr(i, size), 8, out);
        i += size - 1;
      } else if (c == 'x' || c == 'u' || c == 'U') {
        const std::size_t size = c == 'x' ? 2 : c == 'u' ? 4 : 8;
        if (text.size() - i - 1 < size)
          refuse(ErrorCode::bad_data, "an escape \\{} is cut short", c);
        append_escape(text.substr(i + 1, size), 16, out);
        i += size;
      } else if (c == 'N' || static_cast<unsigned char>(c) >= 0x80) {
        refuse(ErrorCode::unsupported, "the escape \\{} of a string is not supported",
               c == 'N' ? "N" : "before a letter beyond ASCII");
      } else {
        out.append(1, '\\').append(1, c);
      }
    }
    return out;
  }

  void append_escape(std::string_view digits, int base, std::string& out) {
    std::uint32_t code = 0;
    const auto [end, error] = std::from_chars(digits.begin(), digits.end(), code, base);
    if (error != std::errc() || end != digits.end() || code > 0x10ffff) {
      refuse(ErrorCode::bad_data, "an escape of a string names no character: {}",
             printable(digits));
    }
    if (code >= 0xd800 && code <= 0xdfff) {
      refuse(ErrorCode::unsupported, "half a character, \\u{}, is not supported", digits);
    }
    append_code_point(code, out);
  }

  const std::string& where_;
  const std::string source_;
  std::string_view rest_;
  int line_ = 1;
  bool line_starts_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize(std::string_view source, const std::string& where) {
  check(valid_utf8_prefix(source) == source.size(), ErrorCode::bad_data,
        "{}: byte {} of the template is not UTF-8", where, valid_utf8_prefix(source));
  return Lexer(source, where).run();
}

}  // namespace krait::jinja
