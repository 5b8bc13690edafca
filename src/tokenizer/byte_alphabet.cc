#include "tokenizer/byte_alphabet.h"

#include <array>
#include <cstdint>

#include "text/utf8.h"

namespace krait {
namespace {

constexpr bool stands_for_itself(int byte) {
  return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
}

constexpr std::array<char16_t, 256> kChars = [] {
  std::array<char16_t, 256> chars{};
  char16_t next = 256;
  for (int byte = 0; byte < 256; ++byte) {
    chars[static_cast<std::size_t>(byte)] =
        stands_for_itself(byte) ? static_cast<char16_t>(byte) : next++;
  }
  return chars;
}();

constexpr std::array<std::int16_t, 324> kBytes = [] {
  std::array<std::int16_t, 324> bytes{};
  bytes.fill(-1);
  for (std::size_t byte = 0; byte < 256; ++byte) {
    bytes[kChars[byte]] = static_cast<std::int16_t>(byte);
  }
  return bytes;
}();

}  // namespace

char32_t byte_to_char(unsigned char byte) noexcept { return kChars[byte]; }

int char_to_byte(char32_t value) noexcept { return value < kBytes.size() ? kBytes[value] : -1; }

void append_byte_chars(std::string_view text, std::string& out) {
  std::string bytes;
  append_unescaped(text, bytes);
  for (const char byte : bytes) {
    append_code_point(byte_to_char(static_cast<unsigned char>(byte)), out);
  }
}

bool append_char_bytes(std::string_view text, std::string& out) {
  const std::size_t size = out.size();
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint c = code_point_at(text.data() + i);
    const int byte = char_to_byte(c.value);
    if (byte < 0) {
      out.resize(size);
      return false;
    }
    out.push_back(static_cast<char>(byte));
    i += c.size;
  }
  return true;
}

}  // namespace krait
