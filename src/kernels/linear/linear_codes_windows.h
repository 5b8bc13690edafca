// Where the windows of codes lie in their words, for instruction sets that bring the two bytes that
// hold a window together and shift it into place. Constants only.
#pragma once

#include <cstdint>

namespace krait {

/// For two words side by side, rows 2 l to 2 l + 3. Window 4 r + c of the step m is row r, column
/// 4 m + c; the first word has windows 0 to 7.
struct CodeWindows {
  /// Bytes of each word's windows, the lower first, [step][word][piece][window, 2]. A piece is 16
  /// bytes of memory. Words of 6 bytes fill 12: even pieces begin with them, odd ones end.
  alignas(64) std::uint8_t bytes[4][2][2][16];
  /// By how much a window is too high in its 16 bits, [step][window of a word, twice].
  alignas(64) std::uint16_t shift[4][16];
};

/// Steps of 4 columns in a word.
constexpr int steps_of(int bits) { return bits == 2 ? 4 : 2; }

constexpr CodeWindows code_windows(int bits) {
  CodeWindows result{};
  const int word_bytes = bits == 3 ? 6 : 8;
  for (int m = 0; m < steps_of(bits); ++m) {
    for (int i = 0; i < 8; ++i) {
      const int bit = bits * (2 * (4 * m + i % 4) + i / 4), low = bit / 8;
      for (int word = 0; word < 2; ++word) {
        for (int piece = 0; piece < 2; ++piece) {
          const int begin = word * word_bytes + (bits == 3 && piece == 1 ? 4 : 0);
          std::uint8_t* at = result.bytes[m][word][piece] + 2 * i;
          at[0] = static_cast<std::uint8_t>(begin + low);
          at[1] = static_cast<std::uint8_t>(begin + (low + 1) % word_bytes);  // around the end
        }
        result.shift[m][8 * word + i] = static_cast<std::uint16_t>(bit % 8);
      }
    }
  }
  return result;
}

}  // namespace krait
