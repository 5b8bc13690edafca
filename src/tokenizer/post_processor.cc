#include "tokenizer/post_processor.h"

#include "core/check.h"
#include "core/printable.h"
#include "tokenizer/component.h"

namespace krait {
namespace {

std::vector<TokenId> special_token_ids(const JsonFields& component, const std::string& name,
                                       const Vocabulary& vocabulary) {
  const JsonFields tokens(component.get("special_tokens"), component.where() + " special_tokens");
  check(tokens.has(name.c_str()), ErrorCode::bad_data,
        "{}: special_tokens does not define '{:.80}'", component.where(), printable(name));
  const JsonFields token(tokens.get(name.c_str()), tokens.where());
  std::vector<TokenId> ids;
  for (const Json& id : token.list("ids")) {
    check(id.is_number_unsigned() &&
              id.get<std::uint64_t>() <= static_cast<std::uint64_t>(kMaxTokenId) &&
              vocabulary.contains(id.get<TokenId>()),
          ErrorCode::bad_data, "{}: '{:.80}' has the id {:.40}, which no token has",
          component.where(), printable(name), id.is_structured() ? id.type_name() : id.dump());
    ids.push_back(id.get<TokenId>());
  }
  check(ids.size() <= 64, ErrorCode::unsupported, "{}: '{:.80}' has more than 64 ids",
        component.where(), printable(name));
  return ids;
}

std::vector<PostProcessor::Piece> parse_template(const JsonFields& component,
                                                 const Vocabulary& vocabulary) {
  std::vector<PostProcessor::Piece> pieces;
  int sequences = 0;
  for (const Json& json : component.list("single")) {
    const JsonFields piece(json, component.where() + " single");
    if (piece.has("SpecialToken")) {
      const JsonFields special(piece.get("SpecialToken"), piece.where());
      pieces.push_back({false, special_token_ids(component, special.text("id"), vocabulary)});
    } else {
      const JsonFields sequence(piece.get("Sequence"), piece.where());
      check(sequence.text("id") == "A", ErrorCode::bad_data,
            "{}: expected the sequence A, got '{:.40}'", piece.where(),
            printable(sequence.text("id")));
      pieces.push_back({true, {}});
      ++sequences;
    }
    check(pieces.size() <= 64, ErrorCode::unsupported, "{}: more than 64 pieces", piece.where());
  }
  check(sequences == 1, ErrorCode::bad_data, "{}: 'single' must hold the sequence once, got {}",
        component.where(), sequences);
  return pieces;
}

}  // namespace

PostProcessor parse_post_processor(const Json& json, const std::string& where,
                                   const Vocabulary& vocabulary) {
  PostProcessor out;
  for_each_component(json, "processors", where + ": post_processor",
                     [&](const JsonFields& component, const std::string& type) {
                       if (type == "TemplateProcessing") {
                         out.templates.push_back(parse_template(component, vocabulary));
                         check(out.templates.size() <= 16, ErrorCode::unsupported,
                               "{}: more than 16 templates", component.where());
                       } else if (type != "ByteLevel") {
                         unsupported_component(component.where(), type,
                                               "one of TemplateProcessing, ByteLevel, Sequence");
                       }
                     });
  return out;
}

std::vector<TokenId> post_process(const PostProcessor& post_processor, std::vector<TokenId> ids) {
  for (const auto& pieces : post_processor.templates) {
    std::vector<TokenId> out;
    out.reserve(ids.size() + 2);
    for (const PostProcessor::Piece& piece : pieces) {
      const std::vector<TokenId>& source = piece.is_sequence ? ids : piece.ids;
      out.insert(out.end(), source.begin(), source.end());
    }
    ids = std::move(out);
  }
  return ids;
}

}  // namespace krait
