// What a Split or Replace looks for: a literal string or a regular expression.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/json_fields.h"

namespace krait {

/// Bytes [begin, end) of some text.
struct Range {
  std::size_t begin;
  std::size_t end;
};

/// Immutable after construction; find() may be called from several threads at once.
class Pattern {
 public:
  /// {"String": ...} or {"Regex": ...} at member `key`. Errors: bad_data; unsupported for an
  /// expression that PCRE2 refuses or would read differently from Oniguruma.
  static Pattern parse(const JsonFields& component, const char* key);
  static Pattern literal(std::string text);
  static Pattern regex(const std::string& expression, const std::string& where);

  /// Appends the non-overlapping matches in text[piece], from left to right, to `matches`. The
  /// piece is all that the expression can see. `text` is well formed (utf8.h).
  /// Error: unsupported where an expression backtracks beyond all measure.
  void find(std::string_view text, Range piece, std::vector<Range>& matches) const;

  /// The expression as written; "" for a literal.
  const std::string& expression() const noexcept { return expression_; }

 private:
  struct Code;
  std::string literal_;
  std::string expression_;
  std::string where_;
  std::shared_ptr<const Code> code_;
};

}  // namespace krait
