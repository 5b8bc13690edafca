#include "quant/codes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/rng.h"
#include "core/trits.h"
#include "quant/steps.h"

namespace krait {
namespace {

/// What core/weight.h says that a word of two rows stands for.
int entry_of(const Tensor& words, std::int64_t r, std::int64_t c, int bits,
             std::span<const std::int8_t, 64> table) {
  const std::int64_t width = word_columns(bits), bytes = width * bits / 4;
  const std::uint8_t* word =
      words.as<std::uint8_t>().data() + r / 2 * words.shape()[1] + c / width * bytes;
  const std::int64_t total = 8 * bytes, first = bits * (2 * (c % width) + r % 2);
  unsigned window = 0;
  for (std::int64_t k = 0; k < 6; ++k) {
    const std::int64_t bit = (first + k) % total;
    window |= (word[bit / 8] >> (bit % 8) & 1u) << k;
  }
  return table[window];
}

std::vector<std::uint8_t> random_codes(std::int64_t n, int bits) {
  Rng rng(7);
  std::vector<std::uint8_t> code(static_cast<std::size_t>(n));
  for (auto& x : code) {
    x = static_cast<std::uint8_t>(rng.uniform() * static_cast<double>(1 << bits));
  }
  return code;
}

TEST(CodeTable, OfIntegersLooksAtOwnBitsOnly) {
  for (const int bits : {2, 3, 4}) {
    const auto table = code_table(bits, Codes::integer);
    for (int w = 0; w < 64; ++w) {
      const int own = w % (1 << bits), half = 1 << (bits - 1);
      EXPECT_EQ(table[static_cast<std::size_t>(w)], own < half ? own : own - 2 * half);
    }
    EXPECT_EQ(code_unit(bits, Codes::integer), 1);
  }
}

TEST(CodeTable, OfTrellisesIsAntisymmetricAndSpansItsBytes) {
  for (const int bits : {2, 3, 4}) {
    const auto table = code_table(bits, Codes::trellis);
    for (std::size_t w = 0; w < 64; ++w) EXPECT_EQ(table[w], -table[63 - w]);
    EXPECT_EQ(*std::max_element(table.begin(), table.end()), 127);
    EXPECT_EQ(*std::min_element(table.begin(), table.end()), -127);
    // About the deviation of what they stand for, of which the far ones are chosen less often.
    double squares = 0;
    for (const std::int8_t x : table) squares += x * x;
    EXPECT_NEAR(std::sqrt(squares / 64) / code_unit(bits, Codes::trellis), 1, 0.3);
  }
}

TEST(PackCodes, LiesAsTheContractSays) {
  for (const int bits : {2, 3, 4}) {
    for (const std::int64_t rows : {1, 2, 5}) {
      const std::int64_t cols = 48, width = word_columns(bits);
      const std::vector<std::uint8_t> code = random_codes(rows * cols, bits);
      const Tensor words = pack_codes(code, rows, cols, bits);
      EXPECT_EQ(words.shape(), (Shape{(rows + 1) / 2, cols * bits / 4}));
      for (const Codes kind : {Codes::integer, Codes::trellis}) {
        const auto table = code_table(bits, kind);
        for (std::int64_t r = 0; r < rows; ++r) {
          for (std::int64_t c = 0; c < cols; ++c) {
            const auto own = [&](std::int64_t i) {  // of weight i of the word
              const std::int64_t row = r - r % 2 + i % 2, column = c - c % width + i / 2;
              return row < rows ? code[static_cast<std::size_t>(row * cols + column)] : 0u;
            };
            const std::int64_t i = 2 * (c % width) + r % 2;
            unsigned window = 0;
            for (int k = 0; k * bits < 6; ++k) {
              window |= own((i + k) % (2 * width)) << (k * bits);
            }
            EXPECT_EQ(entry_of(words, r, c, bits, table), table[window % 64]);
          }
        }
      }
    }
  }
}

TEST(PackRounded, KeepsTernaryDigits) {
  const RoundedMatrix m{{1, 0, -1, -1, 1, 1, 0, 0, 1, -1, 1, 0}, {0.5f, 2.0f}};
  const QuantizedTensor made =
      pack_rounded(m, {2, 6}, format_codes(2, Codes::ternary, 6));
  EXPECT_EQ(made.scale.shape(), (Shape{2, 1}));
  ASSERT_EQ(made.q.shape(), Shape{3});
  std::vector<std::int8_t> digits(12);
  EXPECT_TRUE(unpack_trits(made.q.as<std::uint8_t>(), digits));
  EXPECT_EQ(digits, m.q);
}

TEST(PackRounded, KeepsIntegers) {
  const std::int64_t rows = 3, cols = 32;
  for (const IntegerFormat& format :
       {format_codes(2, Codes::integer, 16), format_codes(3, Codes::integer, 32),
        format_codes(4, Codes::integer, 32)}) {
    Rng rng(3);
    RoundedMatrix m{std::vector<std::int8_t>(static_cast<std::size_t>(rows * cols)),
                    std::vector<float>(static_cast<std::size_t>(rows * cols / format.group), 0.5f)};
    for (auto& q : m.q) {
      q = static_cast<std::int8_t>(
          format.low + static_cast<int>(rng.uniform() * (format.high - format.low + 1)));
    }
    const QuantizedTensor made = pack_rounded(m, {rows, cols}, format);
    EXPECT_EQ(made.scale.dtype(), DType::bf16);
    EXPECT_EQ(made.scale.shape(), (Shape{rows, cols / format.group}));
    const auto table = code_table(format.bits, format.codes);
    for (std::int64_t i = 0; i < rows * cols; ++i) {
      EXPECT_EQ(entry_of(made.q, i / cols, i % cols, format.bits, table),
                m.q[static_cast<std::size_t>(i)]);
    }
  }
}

}  // namespace
}  // namespace krait
