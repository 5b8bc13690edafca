// Byte-pair encoding (Sennrich et al. 2016) as tokenizer.json states it: merges in order of rank.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "io/json_fields.h"
#include "tokenizer/merge_table.h"
#include "tokenizer/vocabulary.h"

namespace krait {

/// Immutable after parse(); encode_word() may be called from several threads at once.
class Bpe {
 public:
  /// The "model" of a tokenizer.json. `byte_level`: words come as bytes, which the vocabulary
  /// writes with the characters of byte_alphabet.h. Errors: bad_data, unsupported.
  static Bpe parse(const Json& json, const std::string& where, bool byte_level);

  /// Appends the ids of one word (well formed, utf8.h) to `ids`.
  void encode_word(std::string_view word, std::vector<TokenId>& ids) const;

  /// Whether the vocabulary holds a byte: as its character of byte_alphabet.h or as "<0x00>".
  bool has_byte(unsigned char byte, bool as_char) const noexcept;

  const Vocabulary& vocabulary() const noexcept { return vocabulary_; }

 private:
  void parse_vocabulary(const JsonFields& model);
  void parse_merges(const JsonFields& model);
  void fill_tables();
  void encode_part(std::string_view word, std::vector<TokenId>& ids) const;
  void append_symbols(std::string_view word, std::vector<TokenId>& symbols) const;
  void append_char_symbols(std::string_view text, std::vector<TokenId>& symbols) const;
  bool append_byte_tokens(std::string_view bytes, std::vector<TokenId>& symbols) const;

  Vocabulary vocabulary_;
  MergeTable merges_;
  StringTable words_;                        ///< words that end as one token; keys as words come
  std::array<TokenId, 256> byte_symbols_{};  ///< byte level: by byte, -1 if not in the vocabulary
  std::array<TokenId, 256> fallback_{};      ///< "<0x00>".."<0xFF>", -1 if not there
  TokenId unknown_ = -1;
  bool byte_level_ = false;
  bool byte_fallback_ = false;
  bool fuse_unknown_ = false;
  bool ignore_merges_ = false;
  bool splits_at_marker_ = false;  ///< no merge joins x and U+2581 y, so words may be cut there
};

}  // namespace krait
