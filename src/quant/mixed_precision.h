// Mixed precision: each product of a model gets as many bits as its rounding costs the model least
// with, under a budget of bytes.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "io/checkpoint.h"
#include "krait/quantize.h"
#include "quant/choose_widths.h"
#include "quant/quantize_to_memory.h"
#include "quant/recipe.h"

namespace krait {

struct MixOptions {
  std::vector<int> widths{2, 3, 4};  ///< bits to choose from
  double bits = 3.5;                 ///< per weight at most, all weights counted
  std::string name{};                ///< of the new recipe; "": the old one's and "-mixed"
};

/// Weights that get one width together: a product of a layer (of each expert by itself), or the
/// table and the head that is tied to it.
struct MixedProduct {
  std::string name;  ///< of the tensor, without ".weight"
  std::string role;
  std::vector<std::string> keys;  ///< of the recipe's weights
  WeightRule rule;                ///< the recipe's for them
  std::vector<Width> widths{};    ///< as MixOptions::widths
  std::size_t chosen = 0;         ///< into widths
};

struct MixedPrecision {
  Json recipe;  ///< the old one with other bits for each product
  std::vector<MixedProduct> products;
  std::int64_t bytes = 0;  ///< of all tensors
  double bits_per_weight = 0;
  double loss = 0;  ///< the sum of the products' own
};

/// How much worse than the float model a quantized one is, in any unit that may be added up.
using LossFn = std::function<double(const QuantizedModel& model)>;

/// Chooses the widths of all products whose weights `recipe`, fitted to the model, has in groups:
/// the loss of each width is that of the model with this product alone rounded, to the nearest,
/// less that of rounding the inputs alone. progress: "measure", in widths. Errors: invalid_argument
/// for widths other than 2, 3 and 4, for a recipe without weights in groups, and for fewer bits
/// than the smallest widths take, before anything is measured.
MixedPrecision mix_precision(const Checkpoint& source, const Recipe& recipe,
                             const MixOptions& options, const LossFn& loss, ThreadPool& threads,
                             const ProgressFn& progress = {});

}  // namespace krait
