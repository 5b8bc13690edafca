// The post-processors of tokenizer.json: special tokens put around a sequence.
#pragma once

#include <string>
#include <vector>

#include "io/json_fwd.h"
#include "tokenizer/vocabulary.h"

namespace krait {

/// Templates in the order they apply. ByteLevel post-processing only trims offsets and adds none.
struct PostProcessor {
  struct Piece {
    bool is_sequence;
    std::vector<TokenId> ids;  ///< of a special token
  };
  std::vector<std::vector<Piece>> templates;
};

/// Errors: bad_data (also for ids that `vocabulary` does not hold), unsupported.
PostProcessor parse_post_processor(const Json& json, const std::string& where,
                                   const Vocabulary& vocabulary);

/// `ids` with the special tokens of the templates.
std::vector<TokenId> post_process(const PostProcessor& post_processor, std::vector<TokenId> ids);

}  // namespace krait
