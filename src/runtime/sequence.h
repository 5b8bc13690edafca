// One text being read and written.
#pragma once

#include <vector>

#include "models/state.h"

namespace krait {

struct Sequence {
  SequenceState state;
  std::vector<float> logits = {};  ///< after the last token, [vocab_rows]; empty before the first
};

}  // namespace krait
