// Errors with formatted messages: the only way the library reports a failure.
#pragma once

#include <fmt/format.h>

#include <utility>

#include "krait/error.h"

namespace krait {

/// Throws Error{code} with a formatted sentence: what, where, expected, got.
template <typename... Args>
[[noreturn]] void fail(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(code, fmt::format(format, std::forward<Args>(args)...));
}

/// fail() unless `condition`. The arguments are evaluated either way: keep them cheap.
template <typename... Args>
void check(bool condition, ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  if (!condition) fail(code, format, std::forward<Args>(args)...);
}

}  // namespace krait
