#include "tokenizer/added_tokens.h"

#include <algorithm>

#include "core/check.h"
#include "core/printable.h"
#include "io/json.h"
#include "io/json_fields.h"
#include "text/utf8.h"
#include "tokenizer/char_class.h"

namespace krait {
namespace {

constexpr std::size_t kMaxContent = 1024;

bool is_word_before(std::string_view text, std::size_t at) {
  if (at == 0) return false;
  return char_classes()[code_point_before(text.data(), text.data() + at).value] & kWord;
}

bool is_word_after(std::string_view text, std::size_t at) {
  return at < text.size() && (char_classes()[code_point_at(text.data() + at).value] & kWord);
}

// Where the white space that ends at `at` begins, not before `limit`.
std::size_t spaces_before(std::string_view text, std::size_t limit, std::size_t at) {
  while (at > limit) {
    const CodePoint c = code_point_before(text.data() + limit, text.data() + at);
    if (!(char_classes()[c.value] & kSpace)) break;
    at -= c.size;
  }
  return at;
}

std::size_t spaces_after(std::string_view text, std::size_t at) {
  while (at < text.size()) {
    const CodePoint c = code_point_at(text.data() + at);
    if (!(char_classes()[c.value] & kSpace)) break;
    at += c.size;
  }
  return at;
}

}  // namespace

std::vector<AddedToken> parse_added_tokens(const Json& json, const std::string& where) {
  std::vector<AddedToken> tokens;
  if (json.is_null()) return tokens;
  check(json.is_array(), ErrorCode::bad_data, "{}: 'added_tokens' must be an array, got {}", where,
        json.type_name());
  for (std::size_t i = 0; i < json.size(); ++i) {
    const JsonFields entry(json[i], fmt::format("{}: added_tokens[{}]", where, i));
    AddedToken token{entry.text("content"),
                     static_cast<TokenId>(entry.integer("id", 0, kMaxTokenId)),
                     entry.flag("special", false),
                     entry.flag("normalized", !entry.flag("special", false)),
                     entry.flag("lstrip", false),
                     entry.flag("rstrip", false),
                     entry.flag("single_word", false)};
    check(token.content.size() <= kMaxContent, ErrorCode::unsupported,
          "{}: a content of {} bytes, at most {} are supported", entry.where(), token.content.size(),
          kMaxContent);
    if (!token.content.empty()) tokens.push_back(std::move(token));
  }
  return tokens;
}

void AddedTokenMatcher::add(std::string_view content, const AddedToken& token) {
  if (content.empty()) return;
  std::uint32_t node = 0;
  for (const char byte : content) {
    std::uint32_t next = child(node, byte);
    if (next == 0) {
      next = static_cast<std::uint32_t>(nodes_.size());
      nodes_[node].children.emplace_back(static_cast<unsigned char>(byte), next);
      if (node == 0) roots_[static_cast<unsigned char>(byte)] = next;
      nodes_.emplace_back();
    }
    node = next;
  }
  if (nodes_[node].token < 0) nodes_[node].token = static_cast<std::int32_t>(tokens_.size());
  tokens_.push_back(token);
}

std::uint32_t AddedTokenMatcher::child(std::uint32_t node, char byte) const noexcept {
  for (const auto& [edge, next] : nodes_[node].children) {
    if (edge == static_cast<unsigned char>(byte)) return next;
  }
  return 0;
}

AddedTokenMatcher::Match AddedTokenMatcher::longest_at(std::string_view text,
                                                       std::size_t at) const noexcept {
  Match best{at, -1};
  std::uint32_t node = roots_[static_cast<unsigned char>(text[at])];
  while (node != 0) {
    ++at;
    if (nodes_[node].token >= 0) best = {at, nodes_[node].token};
    node = at < text.size() ? child(node, text[at]) : 0;
  }
  return best;
}

std::vector<AddedTokenMatcher::Piece> AddedTokenMatcher::split(std::string_view text) const {
  std::vector<Piece> pieces;
  std::size_t done = 0;
  if (!tokens_.empty()) {
    for (std::size_t at = 0; at < text.size();) {
      if (roots_[static_cast<unsigned char>(text[at])] == 0) {
        ++at;
        continue;
      }
      const Match match = longest_at(text, at);
      if (match.token < 0) {
        ++at;
        continue;
      }
      const AddedToken& token = tokens_[static_cast<std::size_t>(match.token)];
      std::size_t begin = at, end = match.end;
      at = match.end;
      // One that may not stand here hides what lies within it; one that stands in white space which
      // the token before it took along counts all the same. Both as `tokenizers` does.
      if (token.single_word && (is_word_before(text, begin) || is_word_after(text, end))) continue;
      if (token.lstrip) begin = std::max(done, spaces_before(text, std::min(done, begin), begin));
      if (token.rstrip) end = spaces_after(text, end);
      if (begin > done) pieces.push_back({done, begin, -1});
      if (begin < end) pieces.push_back({begin, end, token.id});
      done = end;
    }
  }
  if (done < text.size()) pieces.push_back({done, text.size(), -1});
  return pieces;
}

}  // namespace krait
