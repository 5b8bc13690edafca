#include "text/jinja_text.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include <algorithm>
#include <array>

#include "text/utf8.h"

namespace krait::jinja {
namespace {

utf8proc_int32_t at(std::string_view character) {
  return static_cast<utf8proc_int32_t>(code_point_at(character.data()).value);
}

bool is_space(utf8proc_int32_t c) {
  return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
         c == 0x205f || c == 0x3000;
}

/// Characters that SpecialCasing.txt of Unicode maps to several.
struct SpecialCase {
  utf8proc_int32_t from;
  const char* upper;
  const char* title;
};
constexpr SpecialCase kSpecialCases[] = {
    {0x00df, "SS", "Ss"},
    {0x0149, "\u02bcN", "\u02bcN"},
    {0x01f0, "J\u030c", "J\u030c"},
    {0x0390, "\u0399\u0308\u0301", "\u0399\u0308\u0301"},
    {0x03b0, "\u03a5\u0308\u0301", "\u03a5\u0308\u0301"},
    {0x0587, "\u0535\u0552", "\u0535\u0582"},
    {0x1e96, "H\u0331", "H\u0331"},
    {0x1e97, "T\u0308", "T\u0308"},
    {0x1e98, "W\u030a", "W\u030a"},
    {0x1e99, "Y\u030a", "Y\u030a"},
    {0x1e9a, "A\u02be", "A\u02be"},
    {0x1f50, "\u03a5\u0313", "\u03a5\u0313"},
    {0x1f52, "\u03a5\u0313\u0300", "\u03a5\u0313\u0300"},
    {0x1f54, "\u03a5\u0313\u0301", "\u03a5\u0313\u0301"},
    {0x1f56, "\u03a5\u0313\u0342", "\u03a5\u0313\u0342"},
    {0x1fb2, "\u1fba\u0399", "\u1fba\u0345"},
    {0x1fb4, "\u0386\u0399", "\u0386\u0345"},
    {0x1fb6, "\u0391\u0342", "\u0391\u0342"},
    {0x1fb7, "\u0391\u0342\u0399", "\u0391\u0342\u0345"},
    {0x1fc2, "\u1fca\u0399", "\u1fca\u0345"},
    {0x1fc4, "\u0389\u0399", "\u0389\u0345"},
    {0x1fc6, "\u0397\u0342", "\u0397\u0342"},
    {0x1fc7, "\u0397\u0342\u0399", "\u0397\u0342\u0345"},
    {0x1fd2, "\u0399\u0308\u0300", "\u0399\u0308\u0300"},
    {0x1fd3, "\u0399\u0308\u0301", "\u0399\u0308\u0301"},
    {0x1fd6, "\u0399\u0342", "\u0399\u0342"},
    {0x1fd7, "\u0399\u0308\u0342", "\u0399\u0308\u0342"},
    {0x1fe2, "\u03a5\u0308\u0300", "\u03a5\u0308\u0300"},
    {0x1fe3, "\u03a5\u0308\u0301", "\u03a5\u0308\u0301"},
    {0x1fe4, "\u03a1\u0313", "\u03a1\u0313"},
    {0x1fe6, "\u03a5\u0342", "\u03a5\u0342"},
    {0x1fe7, "\u03a5\u0308\u0342", "\u03a5\u0308\u0342"},
    {0x1ff2, "\u1ffa\u0399", "\u1ffa\u0345"},
    {0x1ff4, "\u038f\u0399", "\u038f\u0345"},
    {0x1ff6, "\u03a9\u0342", "\u03a9\u0342"},
    {0x1ff7, "\u03a9\u0342\u0399", "\u03a9\u0342\u0345"},
    {0xfb00, "FF", "Ff"},
    {0xfb01, "FI", "Fi"},
    {0xfb02, "FL", "Fl"},
    {0xfb03, "FFI", "Ffi"},
    {0xfb04, "FFL", "Ffl"},
    {0xfb05, "ST", "St"},
    {0xfb06, "ST", "St"},
    {0xfb13, "\u0544\u0546", "\u0544\u0576"},
    {0xfb14, "\u0544\u0535", "\u0544\u0565"},
    {0xfb15, "\u0544\u053b", "\u0544\u056b"},
    {0xfb16, "\u054e\u0546", "\u054e\u0576"},
    {0xfb17, "\u0544\u053d", "\u0544\u056d"},
};

/// The capital without the iota below it, which becomes a letter of its own in upper case; 0: none.
utf8proc_int32_t without_iota(utf8proc_int32_t c) {
  if (c >= 0x1f80 && c <= 0x1faf)
    return c % 8 + (c < 0x1f90 ? 0x1f08 : c < 0x1fa0 ? 0x1f28 : 0x1f68);
  if (c == 0x1fb3 || c == 0x1fbc) return 0x391;
  if (c == 0x1fc3 || c == 0x1fcc) return 0x397;
  if (c == 0x1ff3 || c == 0x1ffc) return 0x3a9;
  return 0;
}

const SpecialCase* special_case(utf8proc_int32_t c) {
  if (c < 0xdf) return nullptr;
  const auto* found = std::find_if(std::begin(kSpecialCases), std::end(kSpecialCases),
                                   [c](const SpecialCase& special) { return special.from == c; });
  return found != std::end(kSpecialCases) ? found : nullptr;
}

void append(utf8proc_int32_t c, std::string& out) {
  append_code_point(static_cast<char32_t>(c), out);
}

void append_upper(utf8proc_int32_t c, std::string& out) {
  if (const SpecialCase* special = special_case(c)) {
    out += special->upper;
  } else if (const utf8proc_int32_t capital = without_iota(c)) {
    append(capital, out);
    append(0x399, out);
  } else {
    append(utf8proc_toupper(c), out);
  }
}

void append_title(utf8proc_int32_t c, std::string& out) {
  if (const SpecialCase* special = special_case(c)) {
    out += special->title;
  } else {
    append(utf8proc_totitle(c), out);
  }
}

/// The property Cased; with Other_Lowercase and Other_Uppercase of PropList.txt.
bool is_cased(utf8proc_int32_t c) {
  const auto category = utf8proc_category(c);
  if (category == UTF8PROC_CATEGORY_LU || category == UTF8PROC_CATEGORY_LL ||
      category == UTF8PROC_CATEGORY_LT) {
    return true;
  }
  constexpr std::array<utf8proc_int32_t, 2> kOthers[] = {
      {0xaa, 0xaa},     {0xba, 0xba},     {0x2b0, 0x2b8},   {0x2c0, 0x2c1},   {0x2e0, 0x2e4},
      {0x345, 0x345},   {0x37a, 0x37a},   {0x1d2c, 0x1d6a}, {0x1d78, 0x1d78}, {0x1d9b, 0x1dbf},
      {0x2071, 0x2071}, {0x207f, 0x207f}, {0x2090, 0x209c}, {0x2160, 0x217f}, {0x24b6, 0x24e9}};
  return std::any_of(std::begin(kOthers), std::end(kOthers),
                     [c](const auto& range) { return c >= range[0] && c <= range[1]; });
}

/// The property Case_Ignorable.
bool is_case_ignorable(utf8proc_int32_t c) {
  switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
      return true;
    default:
      break;
  }
  constexpr utf8proc_int32_t kOthers[] = {0x27,   0x2e,   0x3a,   0xb7,   0x387,  0x55f,
                                          0x5f4,  0x2018, 0x2019, 0x2024, 0x2027, 0xfe13,
                                          0xfe52, 0xfe55, 0xff07, 0xff0e, 0xff1a};
  return std::find(std::begin(kOthers), std::end(kOthers), c) != std::end(kOthers);
}

/// A capital sigma at a word's end has a form of its own in lower case (Unicode 3.13, Final_Sigma).
bool is_final_sigma(const std::vector<std::string_view>& text, std::size_t i) {
  std::size_t before = i, after = i + 1;
  while (before > 0 && is_case_ignorable(at(text[before - 1]))) --before;
  while (after < text.size() && is_case_ignorable(at(text[after]))) ++after;
  return before > 0 && is_cased(at(text[before - 1])) &&
         !(after < text.size() && is_cased(at(text[after])));
}

void append_lower(const std::vector<std::string_view>& text, std::size_t i, std::string& out) {
  const utf8proc_int32_t c = at(text[i]);
  if (c == 0x3a3) {
    append(is_final_sigma(text, i) ? 0x3c2 : 0x3c3, out);
  } else if (c == 0x130) {
    out += "i\u0307";
  } else {
    append(utf8proc_tolower(c), out);
  }
}

bool is_line_end(utf8proc_int32_t c) {
  return (c >= 0x0a && c <= 0x0d) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 ||
         c == 0x2029;
}

bool is_printable(utf8proc_int32_t c) {
  switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return false;
    case UTF8PROC_CATEGORY_ZS:
      return c == ' ';
    default:
      return true;
  }
}

/// Whether a text has letters with a case and none of the other one.
bool has_only(std::string_view text, bool upper) {
  bool cased = false;
  for (const std::string_view character : characters(text)) {
    const utf8proc_int32_t c = at(character);
    if (!is_cased(c)) continue;
    const auto category = utf8proc_category(c);
    const bool is_capital = category == UTF8PROC_CATEGORY_LU || (c >= 0x2160 && c <= 0x216f) ||
                            (c >= 0x24b6 && c <= 0x24cf);
    if (category == UTF8PROC_CATEGORY_LT || is_capital != upper) return false;
    cased = true;
  }
  return cased;
}

std::vector<std::string_view> split_at_spaces(std::string_view text, std::int64_t most,
                                              bool from_right) {
  std::vector<std::string_view> parts;
  const Side side = from_right ? Side::right : Side::left;
  for (text = strip(text, side); !text.empty(); text = strip(text, side)) {
    if (most >= 0 && static_cast<std::int64_t>(parts.size()) == most) {
      parts.push_back(text);
      break;
    }
    std::size_t size = 0;  // of the word
    while (size < text.size()) {
      const auto next = from_right
                            ? code_point_before(text.data(), text.data() + text.size() - size)
                            : code_point_at(text.data() + size);
      if (is_space(static_cast<utf8proc_int32_t>(next.value))) break;
      size += next.size;
    }
    parts.push_back(from_right ? text.substr(text.size() - size) : text.substr(0, size));
    if (from_right) {
      text.remove_suffix(size);
    } else {
      text.remove_prefix(size);
    }
  }
  return parts;
}

}  // namespace

std::vector<std::string_view> characters(std::string_view text) {
  std::vector<std::string_view> all;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t size = code_point_at(text.data() + i).size;
    all.push_back(text.substr(i, size));
    i += size;
  }
  return all;
}

std::int64_t count_characters(std::string_view text) {
  return std::count_if(text.begin(), text.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; });
}

std::string_view strip(std::string_view text, Side side, std::optional<std::string_view> unwanted) {
  const auto goes = [&](std::string_view character) {
    return unwanted ? unwanted->find(character) != std::string_view::npos : is_space(at(character));
  };
  while (side != Side::right && !text.empty()) {
    const auto first = text.substr(0, code_point_at(text.data()).size);
    if (!goes(first)) break;
    text.remove_prefix(first.size());
  }
  while (side != Side::left && !text.empty()) {
    const auto size = code_point_before(text.data(), text.data() + text.size()).size;
    if (!goes(text.substr(text.size() - size))) break;
    text.remove_suffix(size);
  }
  return text;
}

std::vector<std::string_view> split(std::string_view text,
                                    std::optional<std::string_view> separator, std::int64_t most,
                                    bool from_right) {
  std::vector<std::string_view> parts;
  if (!separator) {
    parts = split_at_spaces(text, most, from_right);
  } else {
    while (most < 0 || static_cast<std::int64_t>(parts.size()) < most) {
      const std::size_t found = from_right ? text.rfind(*separator) : text.find(*separator);
      if (found == std::string_view::npos) break;
      const std::size_t behind = found + separator->size();
      parts.push_back(from_right ? text.substr(behind) : text.substr(0, found));
      text = from_right ? text.substr(0, found) : text.substr(behind);
    }
    parts.push_back(text);
  }
  if (from_right) std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends) {
  std::vector<std::string_view> lines;
  std::size_t begin = 0;
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint c = code_point_at(text.data() + i);
    const std::size_t end = i;
    i += c.size;
    if (!is_line_end(static_cast<utf8proc_int32_t>(c.value))) continue;
    if (c.value == '\r' && i < text.size() && text[i] == '\n') ++i;
    lines.push_back(text.substr(begin, (keep_ends ? i : end) - begin));
    begin = i;
  }
  if (begin < text.size()) lines.push_back(text.substr(begin));
  return lines;
}

std::int64_t count_parts(std::string_view text, std::string_view part) {
  if (part.empty()) return count_characters(text) + 1;
  std::int64_t count = 0;
  for (std::size_t i = text.find(part); i != std::string_view::npos;
       i = text.find(part, i + part.size())) {
    ++count;
  }
  return count;
}

std::string replace(std::string_view text, std::string_view from, std::string_view to,
                    std::int64_t most) {
  std::string out;
  std::int64_t count = 0;
  const auto more = [&] { return most < 0 || count < most; };
  if (from.empty()) {
    for (const std::string_view character : characters(text)) {
      if (more()) out += to;
      ++count;
      out += character;
    }
    if (more()) out += to;
    return out;
  }
  for (std::size_t found = 0; more() && (found = text.find(from)) != std::string_view::npos;
       ++count) {
    out.append(text.substr(0, found)).append(to);
    text.remove_prefix(found + from.size());
  }
  return out.append(text);
}

std::string upper(std::string_view text) {
  std::string out;
  for (const std::string_view character : characters(text)) append_upper(at(character), out);
  return out;
}

std::string lower(std::string_view text) {
  std::string out;
  const auto all = characters(text);
  for (std::size_t i = 0; i < all.size(); ++i) append_lower(all, i, out);
  return out;
}

std::string capitalize(std::string_view text) {
  std::string out;
  const auto all = characters(text);
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (i == 0) {
      append_title(at(all[0]), out);
    } else {
      append_lower(all, i, out);
    }
  }
  return out;
}

std::string title(std::string_view text) {
  std::string out;
  const auto all = characters(text);
  bool inside = false;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (inside) {
      append_lower(all, i, out);
    } else {
      append_title(at(all[i]), out);
    }
    inside = is_cased(at(all[i]));
  }
  return out;
}

bool is_upper(std::string_view text) { return has_only(text, true); }
bool is_lower(std::string_view text) { return has_only(text, false); }

bool has_digits_beyond_ascii(std::string_view text) {
  const auto all = characters(text);
  return std::any_of(all.begin(), all.end(), [](std::string_view character) {
    return character.size() > 1 && utf8proc_category(at(character)) == UTF8PROC_CATEGORY_ND;
  });
}

std::string quoted(std::string_view text) {
  const bool single =
      text.find('\'') == std::string_view::npos || text.find('"') != std::string_view::npos;
  const char quote = single ? '\'' : '"';
  std::string out(1, quote);
  for (const std::string_view character : characters(text)) {
    const utf8proc_int32_t c = at(character);
    if (c == quote || c == '\\') {
      out.append(1, '\\').append(character);
    } else if (c == '\n' || c == '\r' || c == '\t') {
      out += c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t";
    } else if (is_printable(c)) {
      out += character;
    } else {
      out += c < 0x100     ? fmt::format("\\x{:02x}", c)
             : c < 0x10000 ? fmt::format("\\u{:04x}", c)
                           : fmt::format("\\U{:08x}", c);
    }
  }
  return out.append(1, quote);
}

std::string json_quoted(std::string_view text, bool ascii) {
  constexpr std::string_view kEscaped = "\"\\\n\r\t\f\b", kLetters = "\"\\nrtfb";
  std::string out = "\"";
  for (const std::string_view character : characters(text)) {
    const utf8proc_int32_t c = at(character);
    const std::size_t special =
        c < 0x80 ? kEscaped.find(static_cast<char>(c)) : std::string_view::npos;
    if (special != std::string_view::npos) {
      out.append(1, '\\').append(1, kLetters[special]);
    } else if (c >= 0x20 && (!ascii || c < 0x7f)) {
      out += character;
    } else if (c < 0x10000) {
      out += fmt::format("\\u{:04x}", c);
    } else {
      out += fmt::format("\\u{:04x}\\u{:04x}", 0xd800 + ((c - 0x10000) >> 10),
                         0xdc00 + ((c - 0x10000) & 0x3ff));
    }
  }
  return out + '"';
}

}  // namespace krait::jinja
