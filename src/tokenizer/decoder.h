// The decoders of tokenizer.json: from token strings back to text, token by token, so that a
// whole sequence and a stream are decoded by the same code.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "tokenizer/pattern.h"

namespace krait {

/// Characters of byte_alphabet.h become bytes; a token with any other character stays as it is.
struct ByteLevelDecode {};
struct ReplaceDecode {
  Pattern pattern;
  std::string content;
};
/// Tokens "<0x00>".."<0xFF>" become bytes.
struct ByteFallbackDecode {};
/// What follows sees one long token.
struct FuseDecode {};
/// Up to `start` and `stop` copies of a character go from the ends of a token.
struct StripDecode {
  std::string content;
  std::size_t start, stop;
};
/// The replacement becomes a space; in the first token it goes, if one was put in front.
struct MetaspaceDecode {
  std::string replacement;
  bool drop_first;
};

struct Decoder {
  std::vector<std::variant<ByteLevelDecode, ReplaceDecode, ByteFallbackDecode, FuseDecode,
                           StripDecode, MetaspaceDecode>>
      steps;
  bool join_with_spaces = false;  ///< no decoder at all: tokens with spaces between
};

/// Errors: bad_data, unsupported (any other decoder, by its name).
Decoder parse_decoder(const Json& json, const std::string& where);

/// A sequence being decoded: what each step still holds back.
class DecodeState {
 public:
  explicit DecodeState(const Decoder& decoder);
  /// Appends to `out` what is certain once this token is known; bytes may be half a character.
  void push(std::string_view token, std::string& out);
  /// The end of the sequence: appends the rest, and is as new.
  void finish(std::string& out);
  std::size_t held() const noexcept;  ///< bytes that wait in its steps

 private:
  struct Stage {
    std::string held;
    std::size_t stripped = 0;  ///< Strip on a fused token: characters taken so far
    bool started = false;      ///< something came before
    bool at_start = true;      ///< Strip on a fused token: still within what may be stripped
  };
  struct Step;
  void feed(std::size_t step, std::string token, std::string& out);

  static constexpr std::size_t kBudget = std::size_t{1} << 20;

  const Decoder* decoder_;
  std::size_t budget_ = kBudget;  ///< bytes that replacements may still make
  std::vector<Stage> stages_;     ///< one per step, and one for the join
};

}  // namespace krait
