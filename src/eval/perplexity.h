// How well an engine predicts a text.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "krait/engine.h"
#include "krait/quantize.h"

namespace krait {

struct PerplexityResult {
  std::int64_t tokens = 0;  ///< scored
  std::int64_t windows = 0;
  double nll = 0;            ///< mean of -ln p(token | those before it in its window), nats
  double nll_error = 0;      ///< standard error of that mean, tokens taken as independent
  double perplexity = 0;     ///< exp(nll)
  double bits_per_byte = 0;  ///< sum of nll / ln 2 / bytes; 0 if bytes is 0
};

/// Cuts `ids` into windows of seq_len that do not overlap; the last may be shorter, from 2 tokens
/// on. Every window starts from the zero state and its first token is not scored. Softmax is over
/// ids below vocab_size, in double precision. `bytes`: length of the text that ids encode. Errors:
/// invalid_argument for seq_len < 2, fewer than 2 ids, or ids outside the vocabulary.
PerplexityResult perplexity(const Engine& engine, std::span<const std::int32_t> ids,
                            std::size_t bytes, std::int64_t seq_len = 2048,
                            const ProgressFn& progress = {});

}  // namespace krait
