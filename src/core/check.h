// Errors with formatted messages: the only way the library reports a failure.
#pragma once

#include <fmt/format.h>

#include <string>
#include <utility>

#include "krait/error.h"

namespace krait {

/// Whatever a message quotes of a hostile file, it stays one line: control characters become '?'.
inline std::string one_line(std::string message) {
  for (char& c : message) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return message;
}

/// Throws Error{code} with a formatted sentence: what, where, expected, got.
template <typename... Args>
[[noreturn]] void fail(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(code, one_line(fmt::format(format, std::forward<Args>(args)...)));
}

/// fail() unless `condition`. The arguments are evaluated either way: keep them cheap.
template <typename... Args>
void check(bool condition, ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  if (!condition) fail(code, format, std::forward<Args>(args)...);
}

}  // namespace krait
