// Log-likelihoods of several continuations of one state.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "eval/likelihood.h"
#include "models/state.h"

namespace krait {

/// `first_logits` [vocab_rows] are those after the state. Each continuation has at least one token.
/// The state is copied for each continuation of more than one token, some of them at a time where
/// states are large. Softmax over ids below vocab_size, on all threads.
std::vector<Likelihood> score_continuations(
    const Engine& engine, const SequenceState& context, std::span<const float> first_logits,
    std::span<const std::vector<std::int32_t>> continuations);

}  // namespace krait
