// What perplexity() and compare() share: which ids can be scored, and what their scores add up to.
#pragma once

#include <cstdint>
#include <span>

#include "eval/perplexity.h"

namespace krait {

/// Errors: invalid_argument naming the first id outside [0, vocab_size).
void check_scored_ids(std::span<const std::int32_t> ids, const Engine& engine);

/// nll of every scored token, in nats.
PerplexityResult summarize(std::span<const double> nll, std::int64_t windows, std::size_t bytes);

}  // namespace krait
