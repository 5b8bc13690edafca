// The split expressions of the GPT-2 and Llama 3 families, by hand over a table of classes.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "tokenizer/pattern.h"

namespace krait {

enum class SplitRule {
  gpt2,    ///< 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
  llama3,  ///< (?i:'s|'t|...)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|...
  qwen2,   ///< llama3 with \p{N} in place of \p{N}{1,3}
};

/// The rule that does what `expression` says, if there is one.
std::optional<SplitRule> split_rule_of(std::string_view expression);

/// Appends the words of text[piece]: ranges without gaps or empty ones. `text` is well formed.
void split_words(SplitRule rule, std::string_view text, Range piece, std::vector<Range>& words);

}  // namespace krait
