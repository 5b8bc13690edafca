#include "cli/output.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "core/check.h"

namespace krait::cli {
namespace {

constexpr std::size_t kBuffer = 1 << 16;

bool quiet = false;

std::string& buffer() {
  static std::string pending;
  return pending;
}

/// Returns 0 or errno.
int write_all(int file, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(file, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno;
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return 0;
}

}  // namespace

void write_out(std::string_view text) {
  buffer() += text;
  if (buffer().size() >= kBuffer) flush_out();
}

void flush_out() {
  const int error = write_all(STDOUT_FILENO, buffer());
  buffer().clear();
  if (error == EPIPE) throw BrokenPipe();
  check(error == 0, ErrorCode::io_error, "cannot write to standard output: {}",
        std::strerror(error));
}

void print_json(const Json& value) {
  write_out(value.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

void print_json_line(const OrderedJson& value) {
  write_out(value.dump(-1, ' ', false, OrderedJson::error_handler_t::replace) + "\n");
  flush_out();
}

void be_quiet() { quiet = true; }
bool is_quiet() { return quiet; }

void write_err(std::string_view text) { static_cast<void>(write_all(STDERR_FILENO, text)); }

}  // namespace krait::cli
