#include "tokenizer/char_class.h"

#include <utf8proc.h>

#include <array>
#include <span>
#include <string_view>
#include <vector>

namespace krait {
namespace {

constexpr utf8proc_int32_t kCodePoints = 0x110000;

struct Block {
  utf8proc_int32_t first, last;
  unsigned bits;
};

// Letters, decimal digits and marks of Unicode 15.1 and 16.0, which utf8proc 2.8 (15.0) does not
// know yet and `tokenizers` does.
constexpr Block kNewer[] = {
    {0x1C89, 0x1C8A, kLetter | kWord},   {0xA7CB, 0xA7CD, kLetter | kWord},
    {0xA7DA, 0xA7DC, kLetter | kWord},   {0x105C0, 0x105F3, kLetter | kWord},
    {0x10D4A, 0x10D65, kLetter | kWord}, {0x10D6F, 0x10D85, kLetter | kWord},
    {0x10EC2, 0x10EC4, kLetter | kWord}, {0x11380, 0x11389, kLetter | kWord},
    {0x1138B, 0x1138B, kLetter | kWord}, {0x1138E, 0x1138E, kLetter | kWord},
    {0x11390, 0x113B5, kLetter | kWord}, {0x113B7, 0x113B7, kLetter | kWord},
    {0x113D1, 0x113D1, kLetter | kWord}, {0x113D3, 0x113D3, kLetter | kWord},
    {0x11BC0, 0x11BE0, kLetter | kWord}, {0x13460, 0x143FA, kLetter | kWord},
    {0x16100, 0x1611D, kLetter | kWord}, {0x16D40, 0x16D6C, kLetter | kWord},
    {0x18CFF, 0x18CFF, kLetter | kWord}, {0x1E5D0, 0x1E5ED, kLetter | kWord},
    {0x1E5F0, 0x1E5F0, kLetter | kWord}, {0x2EBF0, 0x2EE5D, kLetter | kWord},
    {0x10D40, 0x10D49, kNumber | kWord}, {0x116D0, 0x116E3, kNumber | kWord},
    {0x11BF0, 0x11BF9, kNumber | kWord}, {0x16130, 0x16139, kNumber | kWord},
    {0x16D70, 0x16D79, kNumber | kWord}, {0x1CCF0, 0x1CCF9, kNumber | kWord},
    {0x1E5F1, 0x1E5FA, kNumber | kWord}, {0x897, 0x897, kWord},
    {0x10D69, 0x10D6D, kWord},           {0x10EFC, 0x10EFC, kWord},
    {0x113B8, 0x113C0, kWord},           {0x113C2, 0x113C2, kWord},
    {0x113C5, 0x113C5, kWord},           {0x113C7, 0x113CA, kWord},
    {0x113CC, 0x113D0, kWord},           {0x113D2, 0x113D2, kWord},
    {0x113E1, 0x113E2, kWord},           {0x11F5A, 0x11F5A, kWord},
    {0x1611E, 0x1612F, kWord},           {0x1E5EE, 0x1E5EF, kWord}};

// Punctuation younger than Unicode 8 (2015), whose \p{P} the Punctuation pre-tokenizer of
// `tokenizers` still goes by; U+166D was punctuation then, and so was U+111C9 till lately.
constexpr Block kNewPunctuation[] = {
    {0x61D, 0x61D, 0},     {0x9FD, 0x9FD, 0},     {0xA76, 0xA76, 0},     {0xC77, 0xC77, 0},
    {0xC84, 0xC84, 0},     {0x1B7D, 0x1B7E, 0},   {0x2E43, 0x2E4F, 0},   {0x2E52, 0x2E5D, 0},
    {0x10EAD, 0x10EAD, 0}, {0x10F55, 0x10F59, 0}, {0x10F86, 0x10F89, 0}, {0x1144B, 0x1144F, 0},
    {0x1145A, 0x1145B, 0}, {0x1145D, 0x1145D, 0}, {0x11660, 0x1166C, 0}, {0x116B9, 0x116B9, 0},
    {0x1183B, 0x1183B, 0}, {0x11944, 0x11946, 0}, {0x119E2, 0x119E2, 0}, {0x11A3F, 0x11A46, 0},
    {0x11A9A, 0x11A9C, 0}, {0x11A9E, 0x11AA2, 0}, {0x11B00, 0x11B09, 0}, {0x11C41, 0x11C45, 0},
    {0x11C70, 0x11C71, 0}, {0x11EF7, 0x11EF8, 0}, {0x11F43, 0x11F4F, 0}, {0x11FFF, 0x11FFF, 0},
    {0x12FF1, 0x12FF2, 0}, {0x16E97, 0x16E9A, 0}, {0x16FE2, 0x16FE2, 0}, {0x1E95E, 0x1E95F, 0}};
constexpr Block kOldPunctuation[] = {{0x166D, 0x166D, 0}, {0x111C9, 0x111C9, 0}};

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
  const auto for_each = [&table](std::span<const Block> blocks, const auto& change) {
    for (const Block& block : blocks) {
      for (utf8proc_int32_t c = block.first; c <= block.last; ++c) {
        std::uint8_t& bits = table[static_cast<std::size_t>(c)];
        bits = static_cast<std::uint8_t>(change(unsigned{bits}, block));
      }
    }
  };
  for_each(kNewer, [](unsigned bits, const Block& block) { return bits | block.bits; });
  for_each(kNewPunctuation, [](unsigned bits, const Block&) { return bits & ~kPunctuation; });
  for_each(kOldPunctuation, [](unsigned bits, const Block&) { return bits | kPunctuation; });
  mark_unsafe(table);
  return table;
}

}  // namespace

const std::uint8_t* char_classes() {
  static const std::vector<std::uint8_t> table = build_table();
  return table.data();
}

}  // namespace krait
