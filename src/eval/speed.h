// Tokens per second of an engine, for tables; krait bench measures with bounds.
#pragma once

#include <vector>

#include "krait/engine.h"

namespace krait::cli {

/// Of each repeat, tokens per second.
struct Speed {
  std::vector<double> prefill, decode;
};
/// Random tokens, one sequence, after a warm-up.
Speed measure_speed(const Engine& engine, int prefill, int decode, int repeats);

}  // namespace krait::cli
