// The merges of a byte-pair encoding and their application to a word.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace krait {

/// Pairs of ids to what they merge into, in one flat table.
class MergeTable {
 public:
  struct Merge {
    std::uint32_t rank;  ///< kNoRank: the pair does not merge
    TokenId id;
  };
  static constexpr std::uint32_t kNoRank = UINT32_MAX;

  void reserve(std::size_t count);
  void insert(TokenId left, TokenId right, Merge merge);  ///< replaces an earlier one
  Merge find(TokenId left, TokenId right) const noexcept;

 private:
  struct Slot {
    std::uint64_t pair = UINT64_MAX;
    Merge merge{kNoRank, -1};
  };
  std::vector<Slot> slots_;
};

/// Merges the symbols ids[first...] in place until no pair merges: always the pair of least rank,
/// the leftmost of equals. Time O(n log n), for short words without any allocation.
void merge_symbols(const MergeTable& merges, std::vector<TokenId>& ids, std::size_t first);

}  // namespace krait
