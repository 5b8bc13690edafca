#include "text/utf8.h"

#include <cstring>

namespace krait {

void append_code_point(char32_t value, std::string& out) {
  const auto put = [&out](char32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (value < 0x80) {
    put(value);
  } else if (value < 0x800) {
    put(0xC0 | (value >> 6));
    put(0x80 | (value & 0x3F));
  } else if (value < 0x10000) {
    put(0xE0 | (value >> 12));
    put(0x80 | ((value >> 6) & 0x3F));
    put(0x80 | (value & 0x3F));
  } else {
    put(0xF0 | (value >> 18));
    put(0x80 | ((value >> 12) & 0x3F));
    put(0x80 | ((value >> 6) & 0x3F));
    put(0x80 | (value & 0x3F));
  }
}

Utf8Unit utf8_unit(std::string_view bytes) noexcept {
  using enum Utf8Unit::Kind;
  const auto at = [bytes](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const unsigned lead = at(0);
  if (lead < 0x80) return {valid, 1};
  if (lead < 0xC2 || lead > 0xF4) return {invalid, 1};
  const std::size_t size = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  // The second byte's range rules out overlong forms, surrogates and values above U+10FFFF
  // (Unicode 15, table 3-7).
  const unsigned low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const unsigned high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  for (std::size_t i = 1; i < size; ++i) {
    if (i == bytes.size()) return {incomplete, static_cast<std::uint8_t>(i)};
    const unsigned byte = at(i);
    if (byte < (i == 1 ? low : 0x80) || byte > (i == 1 ? high : 0xBF)) {
      return {invalid, static_cast<std::uint8_t>(i)};
    }
  }
  return {valid, static_cast<std::uint8_t>(size)};
}

std::size_t valid_utf8_prefix(std::string_view bytes) noexcept {
  std::size_t i = 0;
  while (i < bytes.size()) {
    std::uint64_t eight;
    if (bytes.size() - i >= sizeof eight) {
      std::memcpy(&eight, bytes.data() + i, sizeof eight);
      if ((eight & 0x8080808080808080u) == 0) {
        i += sizeof eight;
        continue;
      }
    }
    const Utf8Unit unit = utf8_unit(bytes.substr(i));
    if (unit.kind != Utf8Unit::Kind::valid) return i;
    i += unit.size;
  }
  return i;
}

bool has_escapes(std::string_view text) noexcept {
  // Escapes are ED B2 80 .. ED B3 BF; valid characters with lead ED have a second byte below A0.
  std::size_t i = 0;
  while ((i = text.find('\xED', i)) != std::string_view::npos) {
    if (static_cast<unsigned char>(text[i + 1]) >= 0xA0) return true;
    i += 3;
  }
  return false;
}

void append_unescaped(std::string_view text, std::string& out) {
  std::size_t done = 0, i = 0;
  while ((i = text.find('\xED', i)) != std::string_view::npos) {
    const int byte = escaped_byte(code_point_at(text.data() + i).value);
    if (byte >= 0) {
      out.append(text.substr(done, i - done));
      out.push_back(static_cast<char>(byte));
      done = i + 3;
    }
    i += 3;
  }
  out.append(text.substr(done));
}

void drain_utf8(std::string& pending, bool last, std::string& out) {
  std::string_view rest = pending;
  while (!rest.empty()) {
    const std::size_t valid = valid_utf8_prefix(rest);
    out.append(rest.substr(0, valid));
    rest.remove_prefix(valid);
    if (rest.empty()) break;
    const Utf8Unit unit = utf8_unit(rest);
    if (unit.kind == Utf8Unit::Kind::incomplete && !last) break;
    out.append("\xEF\xBF\xBD");
    rest.remove_prefix(unit.size);
  }
  pending.erase(0, pending.size() - rest.size());
}

}  // namespace krait
