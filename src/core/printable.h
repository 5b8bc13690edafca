// Names that come out of files, made safe to put into a message.
#pragma once

#include <string>
#include <string_view>

namespace krait {

/// At most `limit` bytes of one line: control characters and non-ASCII bytes become '?', and "..."
/// stands for what was cut.
inline std::string printable(std::string_view text, std::size_t limit = 200) {
  std::string line(text.substr(0, text.size() > limit ? limit - 3 : limit));
  for (char& c : line) {
    if (c < 0x20 || c > 0x7e) c = '?';
  }
  return text.size() > limit ? line + "..." : line;
}

}  // namespace krait
