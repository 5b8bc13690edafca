// Everything the program prints goes through here, so that a full disk or a closed pipe is noticed.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string_view>
#include <utility>

#include "io/json.h"

namespace krait::cli {

/// The reader of our output has gone (EPIPE): the program ends as other filters do, without a word.
struct BrokenPipe : std::runtime_error {
  BrokenPipe() : std::runtime_error("broken pipe") {}
};

/// To stdout, buffered. Errors: io_error (full disk, closed stdout), BrokenPipe.
void write_out(std::string_view text);
/// Hands what is buffered to the system. Errors as above.
void flush_out();

template <typename... Args>
void print(fmt::format_string<Args...> format, Args&&... args) {
  write_out(fmt::format(format, std::forward<Args>(args)...));
}

/// One JSON value and a newline. Bytes that are not UTF-8 become U+FFFD.
void print_json(const Json& value);
/// The same on one line, at once.
void print_json_line(const OrderedJson& value);

/// To stderr, at once; failures are ignored.
void write_err(std::string_view text);

/// --quiet: inform() and progress say nothing.
void be_quiet();
bool is_quiet();

/// A message that must be seen: an error, something that is not as it seems.
template <typename... Args>
void note(fmt::format_string<Args...> format, Args&&... args) {
  write_err(fmt::format(format, std::forward<Args>(args)...) + "\n");
}

/// A report or a hint.
template <typename... Args>
void inform(fmt::format_string<Args...> format, Args&&... args) {
  if (!is_quiet()) note(format, std::forward<Args>(args)...);
}

}  // namespace krait::cli
