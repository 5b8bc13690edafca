// The normalizers of tokenizer.json: NFC, NFKC, Lowercase, Prepend, Replace, Strip, Sequence.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "tokenizer/pattern.h"

namespace krait {

enum class UnicodeForm { nfc, nfkc };

struct UnicodeStep {
  UnicodeForm form;
};
struct LowercaseStep {};
struct PrependStep {
  std::string prefix;
};
struct ReplaceStep {
  Pattern pattern;
  std::string content;
};
struct StripStep {
  bool left;
  bool right;
};

struct Normalizer {
  std::vector<std::variant<UnicodeStep, LowercaseStep, PrependStep, ReplaceStep, StripStep>> steps;
};

/// Errors: bad_data, unsupported (any other normalizer, by its name).
Normalizer parse_normalizer(const Json& json, const std::string& where);

/// The normalized text: a view of `text` itself where nothing changes, else of `storage`.
/// `text` and the result are well formed (utf8.h).
std::string_view normalize(const Normalizer& normalizer, std::string_view text,
                           std::string& storage);

/// NFC or NFKC of well-formed text (UAX 15); escaped bytes pass and separate what they stand
/// between. A view of `text` where it is normal already, else of `storage`.
std::string_view normalize_unicode(UnicodeForm form, std::string_view text, std::string& storage);

/// `text` with every match of `pattern` replaced, appended to `out`. Error: unsupported where the
/// result would have more than `limit` bytes.
void replace_all(const Pattern& pattern, std::string_view content, std::string_view text,
                 std::size_t limit, std::string& out);

/// What replacements may make of text, all of them together: 16 times the bytes and 1 MiB.
constexpr std::size_t replace_limit(std::string_view text) noexcept {
  return 16 * text.size() + (std::size_t{1} << 20);
}

}  // namespace krait
