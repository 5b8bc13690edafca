#include "tokenizer/tokenizer.h"

#include <algorithm>
#include <utility>

#include "core/check.h"
#include "core/printable.h"
#include "io/json.h"
#include "text/utf8.h"
#include "tokenizer/added_tokens.h"
#include "tokenizer/bpe.h"
#include "tokenizer/decoder.h"
#include "tokenizer/normalizer.h"
#include "tokenizer/post_processor.h"
#include "tokenizer/pre_tokenizer.h"

namespace krait {

struct Tokenizer::Impl {
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  Bpe model;
  Vocabulary vocabulary;            ///< of the model and the added tokens together
  std::vector<bool> special;        ///< by id
  AddedTokenMatcher raw_tokens;     ///< matched before the normalizer
  AddedTokenMatcher normal_tokens;  ///< matched behind it
  PostProcessor post_processor;
  Decoder decoder;

  void encode_raw(std::string_view text, std::vector<TokenId>& ids) const;
  bool is_special(TokenId id) const noexcept {
    return id >= 0 && static_cast<std::size_t>(id) < special.size() &&
           special[static_cast<std::size_t>(id)];
  }
  /// Whether the token has a part in decoded text.
  bool shown(TokenId id, bool skip_special) const noexcept {
    return vocabulary.contains(id) && !(skip_special && is_special(id));
  }
  const std::string& token(TokenId id) const {
    return vocabulary.tokens[static_cast<std::size_t>(id)];
  }
};

// Raw added tokens, then per piece between them: normalizer, normalized added tokens, then per
// piece between those: pre-tokenizer and model.
void Tokenizer::Impl::encode_raw(std::string_view text, std::vector<TokenId>& ids) const {
  std::string storage;
  Words words;
  for (const auto& raw : raw_tokens.split(text)) {
    if (raw.id >= 0) {
      ids.push_back(raw.id);
      continue;
    }
    const std::string_view normal =
        normalize(normalizer, text.substr(raw.begin, raw.end - raw.begin), storage);
    for (const auto& piece : normal_tokens.split(normal)) {
      if (piece.id >= 0) {
        ids.push_back(piece.id);
        continue;
      }
      const bool at_start = raw.begin == 0 && piece.begin == 0;
      pre_tokenize(pre_tokenizer, normal.substr(piece.begin, piece.end - piece.begin), at_start,
                   words);
      for (const Range& word : words.ranges) {
        model.encode_word(words.text.substr(word.begin, word.end - word.begin), ids);
      }
    }
  }
}

Tokenizer::Tokenizer(std::unique_ptr<const Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;

Tokenizer Tokenizer::load(const std::string& path) { return parse(read_file(path), path); }

Tokenizer Tokenizer::parse(std::string_view text, const std::string& where) {
  const Json json = parse_json(text, where);
  check(json.is_object(), ErrorCode::bad_data, "{}: a tokenizer must be an object, got {}", where,
        json.type_name());
  const JsonFields file(json, where);
  auto impl = std::make_unique<Impl>();
  impl->normalizer = parse_normalizer(file.get("normalizer"), where);
  impl->pre_tokenizer = parse_pre_tokenizer(file.get("pre_tokenizer"), where);
  impl->model = Bpe::parse(file.get("model"), where, impl->pre_tokenizer.byte_level);
  impl->vocabulary = impl->model.vocabulary();
  std::string storage;
  for (const AddedToken& token : parse_added_tokens(file.get("added_tokens"), where)) {
    impl->vocabulary.add(token.content, token.id, where + ": added_tokens");
    const auto id = static_cast<std::size_t>(token.id);
    if (token.special) {
      if (id >= impl->special.size()) impl->special.resize(id + 1);
      impl->special[id] = true;
    }
    if (token.normalized) {
      impl->normal_tokens.add(normalize(impl->normalizer, token.content, storage), token);
    } else {
      impl->raw_tokens.add(token.content, token);
    }
  }
  impl->post_processor = parse_post_processor(file.get("post_processor"), where, impl->vocabulary);
  impl->decoder = parse_decoder(file.get("decoder"), where);
  return Tokenizer(std::move(impl));
}

std::vector<TokenId> Tokenizer::encode(std::string_view text, bool add_special) const {
  std::string escaped;
  if (valid_utf8_prefix(text) != text.size()) {
    text = escaped = escape_invalid_bytes(text, [&](unsigned char byte) {
      return impl_->model.has_byte(byte, impl_->pre_tokenizer.maps_bytes);
    });
  }
  std::vector<TokenId> ids;
  ids.reserve(text.size() / 3 + 8);
  impl_->encode_raw(text, ids);
  return add_special ? post_process(impl_->post_processor, std::move(ids)) : ids;
}

std::string Tokenizer::decode(std::span<const TokenId> ids, bool skip_special) const {
  DecodeState state(impl_->decoder);
  std::string text;
  for (const TokenId id : ids) {
    if (impl_->shown(id, skip_special)) state.push(impl_->token(id), text);
  }
  state.finish(text);
  return text;
}

std::optional<TokenId> Tokenizer::find(std::string_view token) const noexcept {
  const TokenId id = impl_->vocabulary.ids.find(token);
  return id < 0 ? std::nullopt : std::optional(id);
}

std::int64_t Tokenizer::vocab_size() const noexcept {
  return static_cast<std::int64_t>(impl_->vocabulary.tokens.size());
}

TextStream::TextStream(const Tokenizer& tokenizer, bool skip_special)
    : tokenizer_(&tokenizer),
      skip_special_(skip_special),
      state_(std::make_unique<DecodeState>(tokenizer.impl_->decoder)) {}
TextStream::~TextStream() = default;
TextStream::TextStream(const TextStream& other)
    : tokenizer_(other.tokenizer_),
      skip_special_(other.skip_special_),
      state_(std::make_unique<DecodeState>(*other.state_)),
      pending_(other.pending_) {}
TextStream& TextStream::operator=(const TextStream& other) { return *this = TextStream(other); }
TextStream::TextStream(TextStream&&) noexcept = default;
TextStream& TextStream::operator=(TextStream&&) noexcept = default;

std::string TextStream::push(TokenId id) {
  std::string text;
  if (!tokenizer_->impl_->shown(id, skip_special_)) return text;
  state_->push(tokenizer_->impl_->token(id), pending_);
  drain_utf8(pending_, false, text);
  return text;
}

std::string TextStream::flush() {
  std::string text;
  state_->finish(pending_);
  drain_utf8(pending_, true, text);
  return text;
}

std::string TextStream::pending() const {
  DecodeState rest = *state_;
  std::string bytes = pending_, text;
  rest.finish(bytes);
  drain_utf8(bytes, false, text);
  return text;
}

std::size_t TextStream::held() const noexcept { return pending_.size() + state_->held(); }

}  // namespace krait
