// Recipes: a quantization method as data. Parsing knows nothing of models; resolve() checks a
// recipe against a model's sites and the numerics that have kernels.
//
// {
//   "name": "quamba-w8a8", "description": "...", "reference": "...",
//   "weights":     { "<linear or param role, or the name of a product>": {"bits": 8,
//                                               "strategy": "tensor" | "part" | "channel"} |
//                                              {"bits": 2 | 3 | 4, "strategy": "group",
//                                               "group_size": 32 | 64 | 128, or "channel",
//                                               "codes": "integer" | "ternary" | "trellis"} |
//                                              {"dtype": "f32" | "f16" | "bf16"} , ... },
//   "activations": { "<activation role>": {"bits": 8, "strategy": "tensor" | "group" | "token",
//                      "dynamic": true | false, "outlier_threshold": 6.0,
//                      "observer": {"name": "absmax"} |
//                                  {"name": "percentile", "percentile": 99.999, "averaging": 0.01}
//                                  |
//                                  {"name": "mse"}} |
//                    "ssm_state": {"bits": 16, "type": "float"} |
//                                 {"bits": 8, "strategy": "channel", "dynamic": true}, ... },
//   "shared_scales": [["conv1d.input", "z"], ...],        the largest scale of each list is used by
//   all "steps": [{"name": "cluster", "site": "x", "heads": 4, "channels": 4},
//             {"name": "smooth", "site": "in_proj.input", "alpha": 0.5},
//             {"name": "rotate", "site": "out_proj.input", "block": "full" | "largest" |
//             "power_of_two" | N},
//             {"name": "calibrate", "data": "built-in" | "generated"},
//             {"name": "rtn", "scale": "absmax" | "mse" | "weighted_mse"} or
//             {"name": "gptq", "scale": ..., "damp": 0.01, "act_order": true, "block": 128,
//              "sweeps": 0, "target": "quantized" | "float"},
//             {"name": "bias_correction", "target": "quantized" | "float"}]
// }
// What is not named stays in the checkpoint's float dtype. Unknown keys, roles, observers, steps
// and numerics that no kernel has are refused with the choices listed.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/dtype.h"
#include "core/quant_args.h"
#include "io/json.h"
#include "models/layout.h"
#include "quant/gptq.h"

namespace krait {

struct ObserverArgs {
  std::string name = "absmax";
  double percentile = 100.0;  ///< percentile observer: in percent
  double averaging = 0.01;    ///< percentile observer: weight of the newest sample
};

struct WeightRule {
  bool quantized = true;
  QuantArgs args;            ///< if quantized
  bool by_part = false;      ///< a scale for each part of the rows, stored as one per row (channel)
  DType dtype = DType::f32;  ///< if not: stored as this
};

/// Whether products with these weights read codes; the embedding table does at 4 bits too.
inline bool has_codes(const QuantArgs& args) {
  return args.bits < 4 || args.codes != Codes::integer;
}

struct ActivationRule {
  QuantArgs args;
  ObserverArgs observer;  ///< static scales only
};

struct RecipeStep {
  std::string name;  ///< "cluster", "smooth", "rotate", "calibrate", "rtn", "gptq",
                     ///< "bias_correction"
  Json args;
};

/// The step that makes integers of weights.
struct Rounding {
  bool is_gptq = false;
  GptqOptions options;         ///< rtn: scale only
  double lookup = 1;           ///< gptq: of the mean of H's diagonal, added to it for a tied table
  bool float_target = false;   ///< products shall give what they give in the float model
  bool corrects_bias = false;  ///< biases take the mean errors of the outputs
  bool float_bias_target = false;  ///< with what the float model gives for its own inputs
  /// Whether products are rounded layer by layer, on what their inputs are.
  bool looks_at_inputs() const {
    return is_gptq || corrects_bias || options.scale == StepChoice::weighted_mse;
  }
};

struct Recipe {
  std::string name, description, reference;
  std::map<std::string, WeightRule> weights;
  std::map<std::string, ActivationRule> activations;
  std::vector<std::vector<std::string>> shared_scales;
  std::vector<RecipeStep> steps;
  Rounding rounding;            ///< of the step rtn or gptq
  bool generates_data = false;  ///< calibrates on what the model writes, unless told otherwise
  Json source;                  ///< as read, for provenance

  /// The rule for a weight: that of its name, before that of its role; or nullptr.
  const WeightRule* find_weight(const std::string& weight, const std::string& role) const;
  bool needs_calibration() const;  ///< for static scales, clusters, smoothing or rounding
  const RecipeStep* find_step(std::string_view wanted) const;  ///< the first, or nullptr
};

Recipe parse_recipe(const Json& json, const std::string& where);
/// A shipped recipe by name (built into the library from recipes/*.json) or a JSON file by path.
Recipe load_recipe(const std::string& name_or_path);
/// The part of a recipe that concerns a model: rules, scales and steps for roles that only other
/// architectures have are left out. Errors: invalid_argument, with the choices, for roles that no
/// architecture has and for what no kernel can do.
Recipe fit_recipe(const Recipe& recipe, const ModelLayout& layout);

}  // namespace krait
