// How a quantized model goes away from its reference as a text gets longer: in what it writes, and,
// where both read the same text, token by token.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "eval/windows.h"
#include "krait/engine.h"
#include "krait/quantize.h"

namespace krait {

struct DriftOptions {
  int prompts = 32;  ///< places of the text, evenly spread
  std::int64_t prompt_tokens = 64;
  std::int64_t generated = 256;  ///< tokens of each greedy continuation
  std::int64_t read = 2048;      ///< tokens of text that both read from each place on
};

/// Tokens [begin, end) of the windows that both read; errors are over windows.
struct DriftBin {
  std::int64_t begin = 0, end = 0;
  Mean kl{};              ///< KL(reference || model), nats
  Mean nll_difference{};  ///< model - reference, nats
  Mean agreement{};       ///< share of tokens where both have the same largest logit
};

struct DriftResult {
  /// For each prompt the tokens that both continuations have in common; `generated`: all.
  std::vector<double> agreed;
  std::int64_t generated = 0;
  double agreed_median = 0, agreed_low = 0, agreed_high = 0;  ///< and quartiles
  double unchanged = 0;        ///< share of the prompts whose continuations are equal
  std::vector<DriftBin> bins;  ///< [1, 16), [16, 32), [32, 64), ... tokens read
};

/// Continuations are greedy, without end of text. Windows are cut short where the text is. Errors:
/// as compare(); invalid_argument for a text of fewer than prompt_tokens + 2 tokens.
DriftResult drift(const Engine& reference, const Engine& model, std::span<const std::int32_t> ids,
                  const DriftOptions& options = {}, const ProgressFn& progress = {});

}  // namespace krait
