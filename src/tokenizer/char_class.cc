#include "tokenizer/char_class.h"

#include <utf8proc.h>

#include <array>
#include <string_view>
#include <vector>

namespace krait {
namespace {

constexpr utf8proc_int32_t kCodePoints = 0x110000;

bool is_white_space(utf8proc_int32_t c, int category) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x85 || category == UTF8PROC_CATEGORY_ZS ||
         category == UTF8PROC_CATEGORY_ZL || category == UTF8PROC_CATEGORY_ZP;
}

// Other_Alphabetic outside letters and marks (Unicode 15, PropList.txt): the circled and squared
// Latin letters.
bool is_alphabetic_symbol(utf8proc_int32_t c) {
  return (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) ||
         (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189);
}

std::uint8_t category_bits(utf8proc_int32_t c) {
  const int category = utf8proc_category(c);
  unsigned bits = 0;
  switch (category) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
      bits = kLetter | kWord;
      break;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
      bits = kNumber | kWord;
      break;
    case UTF8PROC_CATEGORY_NO:
      bits = kNumber;
      break;
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
      bits = kWord;
      break;
    case UTF8PROC_CATEGORY_PC:
      bits = kPunctuation | kWord;
      break;
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO:
      bits = kPunctuation;
      break;
    default:
      break;
  }
  if (c < 0x80 &&
      std::string_view("$+<=>^`|~").find(static_cast<char>(c)) != std::string_view::npos)
    bits |= kPunctuation;
  if (is_white_space(c, category)) bits |= kSpace;
  if (is_alphabetic_symbol(c) || c == 0x200C || c == 0x200D) bits |= kWord;
  return static_cast<std::uint8_t>(bits);
}

using Parts = std::array<utf8proc_int32_t, 32>;

// The full decomposition of `c`: its length, or 0 where it is `c` itself.
std::size_t decompose(utf8proc_int32_t c, int compat, Parts& parts) {
  const auto options =
      static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | compat);
  int boundclass = 0;
  const utf8proc_ssize_t n =
      utf8proc_decompose_char(c, parts.data(), parts.size(), options, &boundclass);
  if (n < 1 || n > static_cast<utf8proc_ssize_t>(parts.size()) || (n == 1 && parts[0] == c)) {
    return 0;
  }
  return static_cast<std::size_t>(n);
}

bool composes_back(utf8proc_int32_t c, Parts parts, std::size_t n) {
  const auto options = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE);
  return utf8proc_normalize_utf32(parts.data(), static_cast<utf8proc_ssize_t>(n), options) == 1 &&
         parts[0] == c;
}

// A character is safe if it is a starter, normalizes to itself and never composes with what stands
// before it: ccc = 0 and Quick_Check = Yes (UAX 15, section 9). What can be the second half of a
// composition is read off the canonical decompositions.
void mark_unsafe(std::vector<std::uint8_t>& table) {
  const auto at = [&table](utf8proc_int32_t c) -> std::uint8_t& {
    return table[static_cast<std::size_t>(c)];
  };
  Parts parts{};
  for (utf8proc_int32_t c = 0xA0; c < kCodePoints; ++c) {
    if (c == 0xAC00) c = 0xD7A4;  // Hangul syllables compose back
    if (c == 0xD800) c = 0xE000;
    const utf8proc_property_t* property = utf8proc_get_property(c);
    if (property->combining_class != 0) at(c) |= kNfcUnsafe | kNfkcUnsafe;
    if (property->decomp_seqindex == UINT16_MAX) continue;
    if (const std::size_t n = decompose(c, 0, parts)) {
      for (std::size_t i = 1; i < n; ++i) at(parts[i]) |= kNfcUnsafe | kNfkcUnsafe;
      if (!composes_back(c, parts, n)) at(c) |= kNfcUnsafe;
    }
    if (const std::size_t n = decompose(c, UTF8PROC_COMPAT, parts)) {
      if (!composes_back(c, parts, n)) at(c) |= kNfkcUnsafe;
    }
  }
  for (utf8proc_int32_t c = 0x1161; c <= 0x1175; ++c) at(c) |= kNfcUnsafe | kNfkcUnsafe;  // vowels,
  for (utf8proc_int32_t c = 0x11A8; c <= 0x11C2; ++c) at(c) |= kNfcUnsafe | kNfkcUnsafe;  // finals
}

std::vector<std::uint8_t> build_table() {
  std::vector<std::uint8_t> table(kCodePoints);
  for (utf8proc_int32_t c = 0; c < kCodePoints; ++c) {
    table[static_cast<std::size_t>(c)] = category_bits(c);
  }
  mark_unsafe(table);
  return table;
}

}  // namespace

const std::uint8_t* char_classes() {
  static const std::vector<std::uint8_t> table = build_table();
  return table.data();
}

}  // namespace krait
