// Which recipes of a model fit into a memory, and how fast they will be.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "io/json.h"
#include "io/tensor_source.h"
#include "report/footprint.h"
#include "report/table.h"

namespace krait {

struct Fits {
  std::vector<Footprint> rows;
  std::vector<std::pair<std::string, std::string>> unfit;  ///< recipes for other models, and why
  double bandwidth = 0;                                    ///< bytes per second
  double memory = 0;                                       ///< bytes; 0: nobody asks

  /// A row for the float checkpoint as it is, and one for each of the recipes.
  void add(const Json& config, const TensorSource& tensors,
           const std::vector<std::string>& recipes);
  bool fits(const Footprint& row) const {
    return memory == 0 || static_cast<double>(row.running) <= memory;
  }
  /// What keeps the most bits of what fits; nullptr if nothing does.
  const Footprint* best() const;
};

Table fits_table(const Fits& fits);
Json to_json(const Fits& fits);

}  // namespace krait
