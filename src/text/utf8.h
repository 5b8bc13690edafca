// UTF-8 as the tokenizer sees it. Inside the tokenizer text is always well formed: bytes of the
// caller that are not valid UTF-8 travel as the lone surrogates U+DC80..U+DCFF in three bytes
// each (the "surrogateescape" of Python, PEP 383). Valid UTF-8 holds no surrogate, so nothing
// collides, every rule sees such a byte as a symbol, and the vocabulary gets the byte back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace krait {

struct CodePoint {
  char32_t value;
  std::uint32_t size;  ///< bytes
};

/// The code point at `p`, which must begin a well-formed (possibly escaped) sequence.
inline CodePoint code_point_at(const char* p) noexcept {
  const auto byte = [p](int i) { return static_cast<char32_t>(static_cast<unsigned char>(p[i])); };
  const char32_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  if (lead < 0xE0) return {((lead & 0x1F) << 6) | (byte(1) & 0x3F), 2};
  if (lead < 0xF0) return {((lead & 0x0F) << 12) | ((byte(1) & 0x3F) << 6) | (byte(2) & 0x3F), 3};
  return {
      ((lead & 0x07) << 18) | ((byte(1) & 0x3F) << 12) | ((byte(2) & 0x3F) << 6) | (byte(3) & 0x3F),
      4};
}

/// The code point that ends just before `p`; `begin` < `p`, text well formed.
inline CodePoint code_point_before(const char* begin, const char* p) noexcept {
  const char* start = p - 1;
  while (start > begin && (static_cast<unsigned char>(*start) & 0xC0) == 0x80) --start;
  return code_point_at(start);
}

void append_code_point(char32_t value, std::string& out);

/// What stands at the beginning of untrusted bytes: a valid character, a maximal invalid part (one
/// U+FFFD, Unicode 15 section 3.9), or a prefix of a character that the end cut short.
struct Utf8Unit {
  enum class Kind : std::uint8_t { valid, invalid, incomplete } kind;
  std::uint8_t size;  ///< bytes, at least 1
};
Utf8Unit utf8_unit(std::string_view bytes) noexcept;  ///< `bytes` is not empty

/// Bytes before the first that is not part of a valid character.
std::size_t valid_utf8_prefix(std::string_view bytes) noexcept;

/// Every byte outside valid characters as its escape, or as U+FFFD where `keep` says no to it.
template <typename Keep>
std::string escape_invalid_bytes(std::string_view bytes, const Keep& keep);
inline std::string escape_invalid_bytes(std::string_view bytes) {
  return escape_invalid_bytes(bytes, [](unsigned char) { return true; });
}
/// The byte that an escape stands for, or -1.
inline int escaped_byte(char32_t value) noexcept {
  return value >= 0xDC80 && value <= 0xDCFF ? static_cast<int>(value - 0xDC00) : -1;
}
/// Whether well-formed text holds an escape.
bool has_escapes(std::string_view text) noexcept;
/// The original bytes of well-formed text, appended to `out`.
void append_unescaped(std::string_view text, std::string& out);

/// Moves complete characters from `pending` to the end of `out`, invalid parts as U+FFFD. A cut
/// character at the end stays in `pending`, or becomes U+FFFD where `last` is set.
void drain_utf8(std::string& pending, bool last, std::string& out);

template <typename Keep>
std::string escape_invalid_bytes(std::string_view bytes, const Keep& keep) {
  std::string out;
  out.reserve(bytes.size() + 64);
  while (!bytes.empty()) {
    const std::size_t valid = valid_utf8_prefix(bytes);
    out.append(bytes.substr(0, valid));
    bytes.remove_prefix(valid);
    if (bytes.empty()) break;
    const auto byte = static_cast<unsigned char>(bytes[0]);
    append_code_point(keep(byte) ? 0xDC00u + byte : 0xFFFDu, out);
    bytes.remove_prefix(1);
  }
  return out;
}

}  // namespace krait
