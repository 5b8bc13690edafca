// A model and its quantized forms in one short table: size, loss on a text, speed.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "eval/divergence.h"
#include "io/json.h"
#include "krait/engine.h"
#include "report/table.h"

namespace krait {

/// The shipped text in two parts that share no passage: scales are calibrated on the first, losses
/// measured on the second. No checkpoint of ours was trained on either.
struct SplitText {
  std::string calibration, held_out;
};
SplitText split_shipped_text();

/// Tokens per second of one sequence, the median of three runs of 64.
double decode_speed(const Engine& engine);

struct OverviewRow {
  std::string name;
  double bytes = 0, bits = 0;              ///< of all tensors, and per weight
  double decode = 0;                       ///< tokens per second
  std::optional<DivergenceResult> loss{};  ///< against the float model, which has none
};

/// The first row is the float model's; the others have losses, all on the same text.
Table overview_table(const std::vector<OverviewRow>& rows);
Json to_json(const OverviewRow& row);

}  // namespace krait
