// What krait recall hides in filler text, and what it asks.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "core/rng.h"
#include "krait/engine.h"

namespace krait {

struct RecallQuestion {
  std::vector<std::int32_t> ids;
  std::size_t answer = 0;  ///< index into RecallPrompts::answers
};

/// A fact, as it stands in the prompt, and the questions about it.
struct RecallNeedle {
  std::vector<std::int32_t> ids;
  std::vector<RecallQuestion> questions;
};

struct RecallPrompts {
  std::vector<std::vector<std::int32_t>> answers;  ///< all different; all needles choose among them
  std::vector<RecallNeedle> needles;
  std::size_t longest() const;  ///< tokens of a needle and its question, at most
};

/// `task` is one of recall_tasks(). `words` are ids that may stand for keys and values; each is
/// used once. Errors: invalid_argument if they are too few; not_found without a tokenizer
/// (passkey).
RecallPrompts make_recall_prompts(std::string_view task, const Engine& engine, int needles,
                                  std::span<const std::int32_t> words, Rng& rng);

/// Ids of words of one token: a space and at least three letters; where the vocabulary has few such
/// (or the model no tokenizer), all but end-of-text ids.
std::vector<std::int32_t> recall_words(const Engine& engine);

}  // namespace krait
