// Unicode properties of every code point in one flat table, built once from utf8proc.
#pragma once

#include <cstdint>

namespace krait {

enum CharClass : std::uint8_t {
  kLetter = 1,       ///< \p{L}
  kNumber = 2,       ///< \p{N}
  kSpace = 4,        ///< White_Space, the \s of Oniguruma and Rust
  kPunctuation = 8,  ///< \p{P} of Unicode 8 and the ASCII symbols $+<=>^`|~
  kWord = 16,        ///< \w of UTS 18: Alphabetic, \p{M}, \p{Nd}, \p{Pc}, Join_Control
  kNfcUnsafe = 32,   ///< may change under NFC, alone or beside its neighbours
  kNfkcUnsafe = 64,  ///< the same for NFKC
};

/// 0x110000 entries, one set of CharClass bits each. Escaped bytes (utf8.h) have none.
const std::uint8_t* char_classes();

}  // namespace krait
