#include "core/trits.h"

#include <gtest/gtest.h>

#include <array>
#include <vector>

#include "core/rng.h"

namespace krait {
namespace {

TEST(Trits, AByteIsASumOfPowersOfThree) {
  std::array<std::uint8_t, 2> bytes{};
  pack_trits(std::array<std::int8_t, 7>{-1, 0, 1, 0, -1, 1, -1}, bytes);
  EXPECT_EQ(bytes[0], 0 + 1 * 3 + 2 * 9 + 1 * 27 + 0 * 81);
  EXPECT_EQ(bytes[1], 2 + 0 * 3 + 1 * 9 + 1 * 27 + 1 * 81);  // three that are not there
  pack_trits(std::array<std::int8_t, 5>{1, 1, 1, 1, 1}, std::span(bytes).first(1));
  EXPECT_EQ(bytes[0], kMaxTrits);
}

TEST(Trits, DigitsComeBack) {
  Rng rng(1);
  for (std::int64_t n = 1; n < 40; ++n) {
    std::vector<std::int8_t> digits(static_cast<std::size_t>(n)), back(digits.size(), 5);
    for (std::int8_t& d : digits)
      d = static_cast<std::int8_t>(static_cast<int>(rng.next() % 3) - 1);
    std::vector<std::uint8_t> bytes(static_cast<std::size_t>(trit_bytes(n)));
    pack_trits(digits, bytes);
    EXPECT_TRUE(unpack_trits(bytes, back));
    EXPECT_EQ(back, digits) << n;
  }
}

TEST(Trits, WhatNobodyPacksIsRefused) {
  std::array<std::int8_t, 7> digits{};
  EXPECT_TRUE(unpack_trits(std::array<std::uint8_t, 2>{242, 121}, digits));
  EXPECT_FALSE(unpack_trits(std::array<std::uint8_t, 2>{243, 121}, digits));
  EXPECT_FALSE(unpack_trits(std::array<std::uint8_t, 2>{242, 255}, digits));
  EXPECT_FALSE(unpack_trits(std::array<std::uint8_t, 2>{242, 242}, digits));  // digit 7 is a 1
}

}  // namespace
}  // namespace krait
