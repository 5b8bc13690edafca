// Two models side by side over one text, token by token: what compare() and drift() share.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "krait/engine.h"
#include "models/state.h"

namespace krait {

/// What both say of one token.
struct PairedScore {
  double reference_nll = 0, model_nll = 0;  ///< nats
  double kl = 0;                            ///< KL(reference || model), nats
  bool agrees = false;                      ///< both have the same largest logit
};

struct PairedStates {
  SequenceState reference, model;
  PairedStates(const Engine& reference_engine, const Engine& model_engine);
  void reset();
};

/// Error: invalid_argument unless ids mean the same in both.
void check_same_vocabulary(const Engine& reference, const Engine& model);

/// fn(first, scores): those of the tokens window[first + 1], ..., given what is before them. Both
/// read the window from their states side by side, so that one chunk of logits of each exists at a
/// time. Over ids below vocab_size, on all threads of the model.
using PairedRowsFn = std::function<void(std::int64_t first, std::span<const PairedScore> scores)>;
void for_each_paired_row(const Engine& reference, const Engine& model,
                         std::span<const std::int32_t> window, PairedStates& states,
                         const PairedRowsFn& fn);

/// The same beside logits that a reference gave for the whole window, [window.size() - 1,
/// vocab_rows].
void for_each_row_beside(std::span<const float> reference, const Engine& model,
                         std::span<const std::int32_t> window, SequenceState& state,
                         const PairedRowsFn& fn);

}  // namespace krait
