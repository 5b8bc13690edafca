// Ternary digits as checkpoints store them: five to a byte, 1.6 bits each.
#pragma once

#include <cstdint>
#include <span>

namespace krait {

/// Bytes of n digits.
constexpr std::int64_t trit_bytes(std::int64_t n) noexcept { return (n + 4) / 5; }

/// Largest byte that five digits make.
constexpr int kMaxTrits = 242;

/// The byte i of `out` [trit_bytes(n)] is the sum over k of (digits[5 i + k] + 1) 3^k; digits are
/// -1, 0 and 1, those beyond the last count as 0.
void pack_trits(std::span<const std::int8_t> digits, std::span<std::uint8_t> out) noexcept;

/// The other way round. False, with nothing certain in `digits`, if a byte is above kMaxTrits or a
/// digit beyond the last is not 0.
bool unpack_trits(std::span<const std::uint8_t> bytes, std::span<std::int8_t> digits) noexcept;

}  // namespace krait
