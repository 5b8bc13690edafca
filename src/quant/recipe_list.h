// What ships, at a glance.
#pragma once

#include <string>
#include <vector>

namespace krait {

struct RecipeSummary {
  std::string name;
  std::string folder;          ///< below recipes/: "", "baselines" or "ablations"
  std::string description;     ///< one sentence
  double bits_per_weight = 0;  ///< of the first published shape of the first family that it is for
  std::vector<std::string> families;  ///< that it quantizes, or stores: "mamba", ...
  bool needs_calibration = false;
};

/// All that ship: ours and Quamba's, then ablations, then baselines. Shapes alone: no weights.
std::vector<RecipeSummary> list_recipes();

}  // namespace krait
