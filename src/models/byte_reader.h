// Numbers in the bytes of saved states, little-endian.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "core/check.h"

namespace krait {

/// Reads from the front of `bytes`. Errors: bad_data, naming `what`, where they end early.
class ByteReader {
 public:
  ByteReader(std::string_view bytes, std::string_view what) : bytes_(bytes), what_(what) {}
  std::string_view take(std::uint64_t count) {
    check(count <= bytes_.size(), ErrorCode::bad_data,
          "{} is truncated: {} more bytes expected, {} left", what_, count, bytes_.size());
    const std::string_view part = bytes_.substr(0, count);
    bytes_.remove_prefix(count);
    return part;
  }
  template <typename T>
  T number() {
    T value;
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }
  std::string_view left() const noexcept { return bytes_; }

 private:
  std::string_view bytes_, what_;
};

template <typename T>
void append(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

}  // namespace krait
