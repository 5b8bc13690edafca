// Added tokens: strings that are cut out of the text before anything else sees them.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "io/json_fwd.h"
#include "tokenizer/vocabulary.h"

namespace krait {

struct AddedToken {
  std::string content;
  TokenId id;
  bool special;
  bool normalized;   ///< matched in normalized text, against the normalized content
  bool lstrip;       ///< takes the white space before it along
  bool rstrip;       ///< takes the white space after it along
  bool single_word;  ///< only where no word character stands beside it
};

/// The "added_tokens" of a tokenizer.json. Error: bad_data.
std::vector<AddedToken> parse_added_tokens(const Json& json, const std::string& where);

/// Finds added tokens in text: leftmost, of those the longest. Time linear in the text and, at
/// worst, the longest token.
class AddedTokenMatcher {
 public:
  void add(std::string_view content, const AddedToken& token);
  bool empty() const noexcept { return tokens_.empty(); }

  /// A piece of text: an added token's, or what lies between two of them.
  struct Piece {
    std::size_t begin, end;
    TokenId id;  ///< -1: plain text
  };
  /// The pieces of well-formed text, from left to right and without gaps. (They overlap where one
  /// token stands in the white space that the one before takes along.)
  std::vector<Piece> split(std::string_view text) const;

 private:
  struct Node {
    std::vector<std::pair<unsigned char, std::uint32_t>> children;
    std::int32_t token = -1;  ///< index into tokens_
  };
  struct Match {
    std::size_t end;
    std::int32_t token = -1;
  };
  std::uint32_t child(std::uint32_t node, char byte) const noexcept;
  Match longest_at(std::string_view text, std::size_t at) const noexcept;

  std::vector<AddedToken> tokens_;
  std::vector<Node> nodes_{1};  // a trie over bytes; 0 is the root and nobody's child
  std::array<std::uint32_t, 256> roots_{};
};

}  // namespace krait
