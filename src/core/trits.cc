#include "core/trits.h"

#include <cstddef>

namespace krait {

void pack_trits(std::span<const std::int8_t> digits, std::span<std::uint8_t> out) noexcept {
  for (std::size_t i = 0; i < out.size(); ++i) {
    int byte = 0;
    for (std::size_t k = 5; k-- > 0;) {
      byte = 3 * byte + 1 + (5 * i + k < digits.size() ? digits[5 * i + k] : 0);
    }
    out[i] = static_cast<std::uint8_t>(byte);
  }
}

bool unpack_trits(std::span<const std::uint8_t> bytes, std::span<std::int8_t> digits) noexcept {
  bool valid = true;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    int rest = bytes[i];
    for (std::size_t k = 0; k < 5; ++k, rest /= 3) {
      const int digit = rest % 3 - 1;
      if (5 * i + k < digits.size()) {
        digits[5 * i + k] = static_cast<std::int8_t>(digit);
      } else {
        valid &= digit == 0;
      }
    }
    valid &= rest == 0;
  }
  return valid;
}

}  // namespace krait
