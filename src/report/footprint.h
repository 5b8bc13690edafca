// What a model takes under a recipe, from its config and the shapes of its tensors alone: for who
// has a board and wants to know what fits.
#pragma once

#include <cstddef>
#include <string>

#include "io/json.h"
#include "io/tensor_source.h"
#include "quant/recipe.h"

namespace krait {

struct Footprint {
  std::string recipe = {};
  double bits_per_weight = 0;       ///< all tensors over all parameters
  std::size_t weights = 0;          ///< bytes of all tensors of the quantized checkpoint
  std::size_t state = 0;            ///< bytes of one sequence, whatever its length
  std::size_t cache_per_token = 0;  ///< bytes that attention keeps of each token; 0 without any
  double bytes_per_token = 0;       ///< that decoding one moves, without rows of attention
  std::size_t running = 0;     ///< bytes with a sequence of 1,000 tokens, prefilled 512 at a time
  std::size_t quantizing = 0;  ///< bytes at most, with the default calibration; an estimate; 0 if
                               ///< it is not quantized

  /// Of one token, if memory is the limit: decoding gets kShareOfBandwidth of the bytes per second
  /// that `bandwidth` promises.
  double decode_seconds(double bandwidth) const;
};

/// What krait bench reaches of the measured bandwidth where nothing stays in the caches
/// (docs/results/speed.md).
inline constexpr double kShareOfBandwidth = 0.9;

/// `config` and `tensors` are of a float checkpoint; nothing but their shapes is read. Errors: as
/// plan_quantization().
Footprint footprint_of(const Recipe& recipe, const Json& config, const TensorSource& tensors);

/// The checkpoint as it is.
Footprint footprint_of_float(const Json& config, const TensorSource& tensors);

Json to_json(const Footprint& footprint);

}  // namespace krait
