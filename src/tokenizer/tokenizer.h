// tokenizer.json of Hugging Face: normalizer, pre-tokenizer, byte-level or byte-fallback BPE,
// added tokens, post-processor, decoder. An unsupported component is refused by its name.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace krait {

using TokenId = std::int32_t;

/// Immutable after loading; encode and decode may be called from several threads at once.
class Tokenizer {
 public:
  static Tokenizer load(const std::string& path);  ///< tokenizer.json
  static Tokenizer parse(std::string_view json, const std::string& where);
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;

  /// Text as UTF-8; bytes that are not valid UTF-8 are encoded as those bytes where the model has
  /// byte tokens (byte-level, byte fallback), never dropped and never an error. add_special applies
  /// the post-processor's template (BOS, EOS).
  std::vector<TokenId> encode(std::string_view text, bool add_special = true) const;
  /// May contain invalid UTF-8 where tokens cut a character: see TextStream.
  std::string decode(std::span<const TokenId> ids, bool skip_special = true) const;

  /// One more than the largest id, added tokens included; ids at or above it are padding.
  std::int64_t vocab_size() const noexcept;
  /// The token whose text this is, added tokens included: "<|im_end|>".
  std::optional<TokenId> find(std::string_view token) const noexcept;

 private:
  friend class TextStream;
  struct Impl;
  explicit Tokenizer(std::unique_ptr<const Impl> impl);
  std::unique_ptr<const Impl> impl_;
};

class DecodeState;

/// Decodes a growing sequence and never shows half a character: push() returns the new text that
/// is complete UTF-8; flush() what is left, invalid bytes replaced by U+FFFD, and the stream is as
/// new. Together they return what decode() does, with U+FFFD for invalid bytes. A value: copies go
/// on from the same place. The tokenizer must outlive the stream.
class TextStream {
 public:
  explicit TextStream(const Tokenizer& tokenizer, bool skip_special = true);
  ~TextStream();
  TextStream(const TextStream& other);
  TextStream& operator=(const TextStream& other);
  TextStream(TextStream&&) noexcept;
  TextStream& operator=(TextStream&&) noexcept;

  std::string push(TokenId id);
  std::string flush();
  /// What flush() would return, but for bytes at the end that more tokens may complete.
  std::string pending() const;
  /// Bytes that are held back, about.
  std::size_t held() const noexcept;

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_;
  std::unique_ptr<DecodeState> state_;
  std::string pending_;  ///< decoded bytes that are not a whole character yet
};

}  // namespace krait
