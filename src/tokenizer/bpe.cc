#include "tokenizer/bpe.h"

#include <algorithm>

#include "core/check.h"
#include "core/printable.h"
#include "text/utf8.h"
#include "tokenizer/byte_alphabet.h"
#include "tokenizer/component.h"

namespace krait {
namespace {

constexpr std::size_t kMaxSpacedMerge = 1024;
constexpr std::string_view kMarker = "\xE2\x96\x81";  // U+2581, the space of SentencePiece

// The two tokens of a merge, written ["a", "b"] or "a b". Tokens may hold spaces themselves: then
// the one place counts where both sides are tokens (some published Llama 2 files need this).
std::pair<std::string, std::string> merge_parts(const Json& merge, const StringTable& ids,
                                                const std::string& where, std::size_t index) {
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
    return {merge[0].get<std::string>(), merge[1].get<std::string>()};
  }
  check(merge.is_string(), ErrorCode::bad_data,
        "{}: merge {} must be \"a b\" or [\"a\", \"b\"], got {}", where, index, merge.type_name());
  const std::string_view text = merge.get_ref<const std::string&>();
  std::size_t place = text.find(' ');
  if (place != text.rfind(' ') && text.size() <= kMaxSpacedMerge) {
    int places = 0;
    for (std::size_t i = place; i != std::string_view::npos; i = text.find(' ', i + 1)) {
      if (ids.find(text.substr(0, i)) < 0 || ids.find(text.substr(i + 1)) < 0) continue;
      place = i;
      ++places;
    }
    if (places != 1) place = std::string_view::npos;
  }
  check(place != std::string_view::npos, ErrorCode::bad_data,
        "{}: merge {} must be two tokens with a space between, got '{:.80}'", where, index,
        printable(text));
  return {std::string(text.substr(0, place)), std::string(text.substr(place + 1))};
}

void refuse_affix(const JsonFields& model, const char* key) {
  check(model.text(key, "").empty(), ErrorCode::unsupported,
        "{}: {} is not supported: expected null or \"\", got '{:.60}'", model.where(), key,
        printable(model.text(key, "")));
}

}  // namespace

Bpe Bpe::parse(const Json& json, const std::string& where, bool byte_level) {
  const JsonFields model(json, where + ": model");
  // Files from before 2020 name no type; a BPE is what has merges.
  const std::string type = model.text("type", model.has("merges") ? "BPE" : "");
  if (type != "BPE") unsupported_component(model.where(), type, "BPE");
  refuse_affix(model, "continuing_subword_prefix");
  refuse_affix(model, "end_of_word_suffix");
  const Json& dropout = model.get("dropout");
  check(dropout.is_null() || (dropout.is_number() && dropout.get<double>() == 0),
        ErrorCode::unsupported, "{} BPE: dropout is not supported: expected null or 0",
        model.where());
  Bpe bpe;
  bpe.byte_level_ = byte_level;
  bpe.byte_fallback_ = model.flag("byte_fallback", false);
  bpe.fuse_unknown_ = model.flag("fuse_unk", false);
  bpe.ignore_merges_ = model.flag("ignore_merges", false);
  bpe.parse_vocabulary(model);
  bpe.parse_merges(model);
  bpe.fill_tables();
  return bpe;
}

void Bpe::parse_vocabulary(const JsonFields& model) {
  const Json& vocab = model.get("vocab");
  check(vocab.is_object(), ErrorCode::bad_data, "{}: 'vocab' must be an object, got {}",
        model.where(), vocab.type_name());
  vocabulary_.ids = StringTable(vocab.size());
  for (const auto& [token, id] : vocab.items()) {
    const bool valid = id.is_number_unsigned() &&
                       id.get<std::uint64_t>() <= static_cast<std::uint64_t>(kMaxTokenId);
    check(valid, ErrorCode::bad_data,
          "{}: the id of token '{:.80}' must be an integer from 0 to {}, got {:.40}", model.where(),
          printable(token), kMaxTokenId, id.is_structured() ? id.type_name() : id.dump());
    vocabulary_.add(token, id.get<TokenId>(), model.where());
  }
  const std::string unknown = model.text("unk_token", "");
  if (!unknown.empty()) {
    unknown_ = vocabulary_.ids.find(unknown);
    check(unknown_ >= 0, ErrorCode::bad_data, "{}: unk_token '{:.80}' is not in the vocabulary",
          model.where(), printable(unknown));
  }
}

void Bpe::parse_merges(const JsonFields& model) {
  const Json& merges = model.list("merges");
  merges_.reserve(merges.size());
  splits_at_marker_ = !byte_level_ && !ignore_merges_ && vocabulary_.ids.find(kMarker) >= 0;
  std::uint32_t rank = 0;
  for (std::size_t i = 0; i < merges.size(); ++i) {
    if (merges[i].is_string() && merges[i].get_ref<const std::string&>().starts_with("#version")) {
      continue;
    }
    const auto [left, right] = merge_parts(merges[i], vocabulary_.ids, model.where(), i);
    const auto id_of = [&](const std::string& token) {
      const TokenId id = vocabulary_.ids.find(token);
      check(id >= 0, ErrorCode::bad_data,
            "{}: merge {} needs '{:.80}', which is not in the vocabulary", model.where(), i,
            printable(token));
      return id;
    };
    merges_.insert(id_of(left), id_of(right), {rank++, id_of(left + right)});
    if (right.starts_with(kMarker) && !left.ends_with(kMarker)) splits_at_marker_ = false;
  }
}

void Bpe::fill_tables() {
  for (int byte = 0; byte < 256; ++byte) {
    const auto i = static_cast<std::size_t>(byte);
    std::string symbol;
    append_code_point(byte_to_char(static_cast<unsigned char>(byte)), symbol);
    byte_symbols_[i] = vocabulary_.ids.find(symbol);
    fallback_[i] = vocabulary_.ids.find(fmt::format("<0x{:02X}>", byte));
  }
  words_ = StringTable(vocabulary_.ids.size());
  std::vector<TokenId> ids;
  std::string word;
  for (std::size_t i = 0; i < vocabulary_.tokens.size(); ++i) {
    if (!vocabulary_.present[i] || vocabulary_.tokens[i].empty()) continue;
    word.clear();
    if (byte_level_) {
      if (!append_char_bytes(vocabulary_.tokens[i], word)) continue;
      word = escape_invalid_bytes(word);
    } else {
      word = vocabulary_.tokens[i];
    }
    ids.clear();
    if (ignore_merges_) {
      ids.push_back(static_cast<TokenId>(i));
    } else {
      append_symbols(word, ids);
      merge_symbols(merges_, ids, 0);
    }
    if (ids.size() == 1) words_.insert(word, ids[0]);
  }
}

bool Bpe::has_byte(unsigned char byte, bool as_char) const noexcept {
  return (as_char ? byte_symbols_ : fallback_)[byte] >= 0;
}

void Bpe::encode_word(std::string_view word, std::vector<TokenId>& ids) const {
  if (!splits_at_marker_) return encode_part(word, ids);
  std::size_t begin = 0;
  for (std::size_t at = word.find(kMarker); at != std::string_view::npos;
       at = word.find(kMarker, at + kMarker.size())) {
    if (at == begin || word.substr(begin, at - begin).ends_with(kMarker)) continue;
    encode_part(word.substr(begin, at - begin), ids);
    begin = at;
  }
  encode_part(word.substr(begin), ids);
}

void Bpe::encode_part(std::string_view word, std::vector<TokenId>& ids) const {
  const TokenId whole = words_.find(word);
  if (whole >= 0) {
    ids.push_back(whole);
    return;
  }
  const std::size_t first = ids.size();
  append_symbols(word, ids);
  merge_symbols(merges_, ids, first);
}

void Bpe::append_symbols(std::string_view word, std::vector<TokenId>& symbols) const {
  if (!byte_level_) return append_char_symbols(word, symbols);
  std::string bytes;
  if (has_escapes(word)) {
    append_unescaped(word, bytes);
    word = bytes;
  }
  const std::size_t first = symbols.size();
  bool all = true;
  for (const char c : word) {
    const TokenId id = byte_symbols_[static_cast<unsigned char>(c)];
    all &= id >= 0;
    symbols.push_back(id);
  }
  if (all) return;
  // Some byte has no token: the general way, over the characters that stand for the bytes.
  symbols.resize(first);
  std::string chars;
  for (const char c : word) {
    append_code_point(byte_to_char(static_cast<unsigned char>(c)), chars);
  }
  append_char_symbols(chars, symbols);
}

bool Bpe::append_byte_tokens(std::string_view bytes, std::vector<TokenId>& symbols) const {
  for (const char c : bytes) {
    if (fallback_[static_cast<unsigned char>(c)] < 0) return false;
  }
  for (const char c : bytes) symbols.push_back(fallback_[static_cast<unsigned char>(c)]);
  return true;
}

void Bpe::append_char_symbols(std::string_view text, std::vector<TokenId>& symbols) const {
  // An unknown character waits for what follows, with which it may fuse; byte tokens pass it by.
  bool unknown_waits = false;
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint c = code_point_at(text.data() + i);
    const std::string_view character = text.substr(i, c.size);
    i += c.size;
    const TokenId id = vocabulary_.ids.find(character);
    if (id >= 0) {
      if (unknown_waits) symbols.push_back(unknown_);
      unknown_waits = false;
      symbols.push_back(id);
      continue;
    }
    const int byte = escaped_byte(c.value);
    const char raw = static_cast<char>(byte);
    const std::string_view bytes = byte >= 0 ? std::string_view(&raw, 1) : character;
    // A byte that is not UTF-8 takes its byte token wherever the vocabulary has one.
    if ((byte_fallback_ || byte >= 0) && append_byte_tokens(bytes, symbols)) continue;
    if (unknown_ < 0) continue;
    if (unknown_waits && !fuse_unknown_) symbols.push_back(unknown_);
    unknown_waits = true;
  }
  if (unknown_waits) symbols.push_back(unknown_);
}

}  // namespace krait
