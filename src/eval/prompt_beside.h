// What a long prompt does to those who are being answered meanwhile, and they to it.
#pragma once

#include "krait/engine.h"

namespace krait {

struct PromptBeside {
  int tokens = 0;                          ///< of the prompt
  int sequences = 0;                       ///< that decode meanwhile
  double alone = 0, beside = 0;            ///< tokens of the prompt per second
  double longest_gap = 0, median_gap = 0;  ///< seconds between two tokens of a sequence, meanwhile
  double gap_without = 0;                  ///< the median without a prompt
};

/// Random tokens, once, with the scheduler's own settings. tokens and sequences >= 1.
PromptBeside measure_prompt_beside(const Engine& engine, int tokens, int sequences);

}  // namespace krait
