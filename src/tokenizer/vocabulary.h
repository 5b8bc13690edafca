// Byte strings to ids in one flat table.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace krait {

/// An open-addressing hash table: one probe, one comparison for most lookups.
class StringTable {
 public:
  StringTable() = default;
  explicit StringTable(std::size_t expected);

  void insert(std::string_view key, TokenId id);      ///< a key that is there keeps its first id
  TokenId find(std::string_view key) const noexcept;  ///< -1 if absent
  std::size_t size() const noexcept { return size_; }

 private:
  struct Slot {
    std::uint32_t hash = 0;
    TokenId id = -1;
    std::uint32_t offset = 0;  ///< of the key in keys_
    std::uint32_t length = 0;
  };
  void grow();

  std::vector<Slot> slots_;
  std::string keys_;
  std::size_t size_ = 0;
  std::size_t longest_ = 0;
};

/// Token strings and ids both ways.
struct Vocabulary {
  StringTable ids;
  std::vector<std::string> tokens;  ///< by id; "" where there is none
  std::vector<bool> present;

  /// Error: bad_data where the id belongs to another token already, or the token to another id.
  void add(const std::string& token, TokenId id, const std::string& where);
  bool contains(TokenId id) const noexcept {
    return id >= 0 && static_cast<std::size_t>(id) < present.size() &&
           present[static_cast<std::size_t>(id)];
  }
};

/// Largest id that a file may name: bounds memory whatever a hostile file says.
inline constexpr std::int64_t kMaxTokenId = (1 << 22) - 1;

}  // namespace krait
