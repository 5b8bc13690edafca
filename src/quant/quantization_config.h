// config.json of the output: the source's with a quantization_config block, as
// docs/reference/formats.md has it.
#pragma once

#include <cstdint>
#include <string>

#include "io/json_fwd.h"
#include "quant/plan.h"

namespace krait {

/// Where a checkpoint comes from; what the same output needs again.
struct Provenance {
  std::string source_hash{};  ///< checkpoint_hash() of the float original
  std::uint64_t seed = 0;
  bool calibrated = false;           ///< the rest is meaningful
  std::string calibration_source{};  ///< file name, or "built in"
  std::string calibration_hash{};    ///< "sha256:..." of its bytes
  std::int64_t samples = 0, tokens = 0, seq_len = 0;
};

/// "sha256:<hex>" of the recipe as compact JSON with sorted keys.
std::string recipe_hash(const Recipe& recipe);

/// The "provenance" object.
Json provenance_json(const Recipe& recipe, const Provenance& provenance);

/// The source's config, with quantization_config if the plan quantizes (torch_dtype otherwise), and
/// tie_word_embeddings as the output is.
Json output_config(const Json& config, const QuantizationPlan& plan, const Provenance& provenance);

}  // namespace krait
