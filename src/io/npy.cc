#include "io/npy.h"

#include <algorithm>
#include <bit>

#include "core/check.h"
#include "core/printable.h"

namespace krait {
namespace {

using enum ErrorCode;

static_assert(std::endian::native == std::endian::little, "the header says <f4");

/// The text between two marks of a .npy header, e.g. the value of 'descr'.
std::string_view header_value(std::string_view header, std::string_view key, std::string_view open,
                              std::string_view close) {
  const std::size_t at = header.find(key);
  if (at == std::string_view::npos) return {};
  const std::size_t begin = header.find(open, at + key.size());
  if (begin == std::string_view::npos) return {};
  const std::size_t end = header.find(close, begin + open.size());
  if (end == std::string_view::npos) return {};
  return header.substr(begin + open.size(), end - begin - open.size());
}

}  // namespace

NpyIntegers parse_npy_integers(std::string_view bytes, const std::string& where) {
  const auto byte = [&](std::size_t i) {
    return static_cast<std::size_t>(static_cast<unsigned char>(bytes[i]));
  };
  check(bytes.size() >= 12 && bytes.starts_with("\x93NUMPY"), bad_data, "{} is no .npy file",
        where);
  const bool is_long = byte(6) >= 2;
  const std::size_t begin = is_long ? 12 : 10;
  const std::size_t length =
      byte(8) | byte(9) << 8 | (is_long ? byte(10) << 16 | byte(11) << 24 : 0);
  check(length <= bytes.size() - begin, bad_data, "{}: the header ends after the file", where);
  const std::string_view header = bytes.substr(begin, length);
  const std::string_view type = header_value(header, "'descr':", "'", "'");
  const bool is_id = type.size() == 3 && (type[0] == '<' || type[0] == '|') &&
                     (type[1] == 'i' || type[1] == 'u') &&
                     (type[2] == '2' || type[2] == '4' || type[2] == '8');
  check(is_id, bad_data, "{}: ids as <i2, <u2, <i4, <u4, <i8 or <u8 are expected, got \"{}\"",
        where, printable(type, 32));
  const std::string_view shape = header_value(header, "'shape':", "(", ")");
  const auto commas = std::count(shape.begin(), shape.end(), ',');
  check(commas == 1 && header.find("'fortran_order': False") != std::string_view::npos, bad_data,
        "{}: a one- or two-dimensional array in C order is expected, got ({})", where,
        printable(shape, 32));
  return {begin + length, static_cast<std::size_t>(type[2] - '0'), type[1] == 'i'};
}

std::string npy_header(std::int64_t rows, std::int64_t cols) {
  std::string text =
      fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}", rows, cols);
  constexpr std::size_t kPreamble = 10, kAlignment = 64;
  text.append(kAlignment - 1 - (kPreamble + text.size()) % kAlignment, ' ');
  text += '\n';
  std::string header("\x93NUMPY\x01\x00", 8);
  header += static_cast<char>(text.size() & 0xff);
  header += static_cast<char>(text.size() >> 8);
  return header + text;
}

}  // namespace krait
