#include "tokenizer/normalizer.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>

#include "core/check.h"
#include "text/utf8.h"
#include "tokenizer/char_class.h"
#include "tokenizer/component.h"

namespace krait {
namespace {

constexpr std::string_view kSupported =
    "one of NFC, NFKC, Lowercase, Prepend, Replace, Strip, Sequence";
constexpr std::size_t kMaxContent = 1024;
constexpr std::size_t kMaxSteps = 64;

std::string short_string(const JsonFields& component, const char* key) {
  std::string value = component.text(key);
  check(value.size() <= kMaxContent, ErrorCode::unsupported,
        "{}: '{}' has {} bytes, at most {} are supported", component.where(), key, value.size(),
        kMaxContent);
  return value;
}

// Canonical ordering (UAX 15, D109): marks between starters sorted by combining class.
void order_marks(std::vector<utf8proc_int32_t>& code_points) {
  const auto ccc = [](utf8proc_int32_t c) { return utf8proc_get_property(c)->combining_class; };
  for (auto first = code_points.begin(); first != code_points.end();) {
    if (ccc(*first) == 0) {
      ++first;
      continue;
    }
    const auto last = std::find_if(first, code_points.end(), [&](auto c) { return ccc(c) == 0; });
    std::stable_sort(first, last, [&](auto a, auto b) { return ccc(a) < ccc(b); });
    first = last;
  }
}

void append_normalized(UnicodeForm form, std::string_view span,
                       std::vector<utf8proc_int32_t>& scratch, std::string& out) {
  const auto options = static_cast<utf8proc_option_t>(
      UTF8PROC_STABLE | UTF8PROC_COMPOSE | (form == UnicodeForm::nfkc ? UTF8PROC_COMPAT : 0));
  scratch.clear();
  std::array<utf8proc_int32_t, 32> parts;
  for (std::size_t i = 0; i < span.size();) {
    const CodePoint c = code_point_at(span.data() + i);
    i += c.size;
    int boundclass = 0;
    const utf8proc_ssize_t n = utf8proc_decompose_char(
        static_cast<utf8proc_int32_t>(c.value), parts.data(), parts.size(), options, &boundclass);
    const bool fits = n >= 1 && n <= static_cast<utf8proc_ssize_t>(parts.size());
    if (!fits) parts[0] = static_cast<utf8proc_int32_t>(c.value);
    scratch.insert(scratch.end(), parts.begin(), parts.begin() + (fits ? n : 1));
  }
  order_marks(scratch);
  const utf8proc_ssize_t n = utf8proc_normalize_utf32(
      scratch.data(), static_cast<utf8proc_ssize_t>(scratch.size()), options);
  for (utf8proc_ssize_t i = 0; i < n; ++i) {
    append_code_point(static_cast<char32_t>(scratch[static_cast<std::size_t>(i)]), out);
  }
}

// Full lower case of each character on its own (no final sigma), as Rust's char::to_lowercase.
void append_lowercase(std::string_view text, std::string& out) {
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint c = code_point_at(text.data() + i);
    i += c.size;
    if (c.value == 0x130) {
      out += "i\xCC\x87";
    } else {
      append_code_point(
          static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c.value))), out);
    }
  }
}

std::string_view strip(std::string_view text, bool left, bool right) {
  const std::uint8_t* classes = char_classes();
  while (left && !text.empty()) {
    const CodePoint c = code_point_at(text.data());
    if (!(classes[c.value] & kSpace)) break;
    text.remove_prefix(c.size);
  }
  while (right && !text.empty()) {
    const CodePoint c = code_point_before(text.data(), text.data() + text.size());
    if (!(classes[c.value] & kSpace)) break;
    text.remove_suffix(c.size);
  }
  return text;
}

// One step: the result is a view of `text` or of `out`.
struct Apply {
  std::string_view text;
  std::size_t limit;  ///< of what replacements may make of it
  std::string& out;

  std::string_view operator()(const UnicodeStep& step) const {
    return normalize_unicode(step.form, text, out);
  }
  std::string_view operator()(const LowercaseStep&) const {
    append_lowercase(text, out);
    return out;
  }
  std::string_view operator()(const PrependStep& step) const {
    if (text.empty()) return text;
    out.reserve(step.prefix.size() + text.size());
    out += step.prefix;
    out += text;
    return out;
  }
  std::string_view operator()(const ReplaceStep& step) const {
    replace_all(step.pattern, step.content, text, limit, out);
    return out;
  }
  std::string_view operator()(const StripStep& step) const {
    return strip(text, step.left, step.right);
  }
};

}  // namespace

Normalizer parse_normalizer(const Json& json, const std::string& where) {
  Normalizer normalizer;
  for_each_component(
      json, "normalizers", where + ": normalizer",
      [&](const JsonFields& component, const std::string& type) {
        if (type == "NFC") {
          normalizer.steps.push_back(UnicodeStep{UnicodeForm::nfc});
        } else if (type == "NFKC") {
          normalizer.steps.push_back(UnicodeStep{UnicodeForm::nfkc});
        } else if (type == "Lowercase") {
          normalizer.steps.push_back(LowercaseStep{});
        } else if (type == "Prepend") {
          normalizer.steps.push_back(PrependStep{short_string(component, "prepend")});
        } else if (type == "Replace") {
          normalizer.steps.push_back(ReplaceStep{Pattern::parse(component, "pattern"),
                                                 short_string(component, "content")});
        } else if (type == "Strip") {
          normalizer.steps.push_back(StripStep{component.flag("strip_left", true),
                                               component.flag("strip_right", true)});
        } else {
          unsupported_component(where + ": normalizer", type, kSupported);
        }
        check(normalizer.steps.size() <= kMaxSteps, ErrorCode::unsupported,
              "{}: more than {} normalizers", where, kMaxSteps);
      });
  return normalizer;
}

std::string_view normalize(const Normalizer& normalizer, std::string_view text,
                           std::string& storage) {
  const std::size_t limit = replace_limit(text);
  std::string next;
  for (const auto& step : normalizer.steps) {
    next.clear();
    const std::string_view result = std::visit(Apply{text, limit, next}, step);
    if (result.data() == next.data()) {
      storage.swap(next);
      text = storage;
    } else {
      text = result;  // part of what it was given: `text` or `storage`
    }
  }
  return text;
}

std::string_view normalize_unicode(UnicodeForm form, std::string_view text, std::string& storage) {
  const std::uint8_t* classes = char_classes();
  const std::uint8_t unsafe = form == UnicodeForm::nfc ? kNfcUnsafe : kNfkcUnsafe;
  // Below these lead bytes (U+0300, U+00A0) nothing ever changes.
  const auto first_lead = static_cast<unsigned char>(form == UnicodeForm::nfc ? 0xCC : 0xC2);
  std::vector<utf8proc_int32_t> scratch;
  storage.clear();
  std::size_t copied = 0;  // text[0, copied) is in storage, once anything is
  std::size_t safe = 0;    // where the last safe character begins
  std::size_t i = 0;
  while (i < text.size()) {
    if (static_cast<unsigned char>(text[i]) < first_lead) {
      if (!(static_cast<unsigned char>(text[i]) & 0x80) ||
          (static_cast<unsigned char>(text[i]) & 0x40)) {
        safe = i;
      }
      ++i;
      continue;
    }
    const CodePoint c = code_point_at(text.data() + i);
    if (!(classes[c.value] & unsafe)) {
      safe = i;
      i += c.size;
      // An escaped byte neither changes nor composes: begin behind it.
      if (escaped_byte(c.value) >= 0) safe = i;
      continue;
    }
    std::size_t end = i;
    while (end < text.size()) {
      const CodePoint next = code_point_at(text.data() + end);
      if (!(classes[next.value] & unsafe)) break;
      end += next.size;
    }
    storage.append(text.substr(copied, safe - copied));
    append_normalized(form, text.substr(safe, end - safe), scratch, storage);
    copied = safe = i = end;
  }
  if (copied == 0) return text;
  storage.append(text.substr(copied));
  return storage;
}

void replace_all(const Pattern& pattern, std::string_view content, std::string_view text,
                 std::size_t limit, std::string& out) {
  std::vector<Range> matches;
  pattern.find(text, {0, text.size()}, matches);
  std::size_t removed = 0;
  for (const Range& match : matches) removed += match.end - match.begin;
  const std::size_t size = text.size() - removed + matches.size() * content.size();
  check(size <= limit, ErrorCode::unsupported,
        "a Replace of the tokenizer makes {} bytes of text, expected at most {}", size, limit);
  out.reserve(out.size() + size);
  std::size_t copied = 0;
  for (const Range& match : matches) {
    out.append(text.substr(copied, match.begin - copied));
    out.append(content);
    copied = match.end;
  }
  out.append(text.substr(copied));
}

}  // namespace krait
