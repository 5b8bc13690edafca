// Recipes: a quantization method as data. Parsing knows nothing of models; fit_recipe() resolves a
// recipe for a model's sites and checks it against the numerics that have kernels.
//
// {
//   "name": "quamba-w8a8", "description": "...", "reference": "...",
//   "base": "NAME",               a recipe that the rest is a merge patch to (RFC 7386): null takes
//                                 a key away
//   "weights":     {SELECTOR: FORMAT, ...},   kernels/formats.h; "float": as they are
//   "activations": {SELECTOR: FORMAT |
//                   {"format": FORMAT, "outlier_threshold": 6.0,
//                    "observer": {"name": "absmax"} | {"name": "mse"} |
//                                {"name": "percentile", "percentile": 99.999, "averaging": 0.01}}},
//   "shared_scales": [["conv1d.input", "z"], ...],       roles; all use the largest scale of a list
//   "cluster": {"site": "x", "heads": 4, "channels": 4},
//   "smooth":  {SELECTOR: alpha | "none", ...},
//   "rotate":  {SELECTOR: "full" | "largest" | "power_of_two" | N | "none", ...},
//   "calibrate": "built-in" | "generated",
//   "round": METHOD or METHOD/SCALE: "nearest" | "gptq" | "gptq-paper", "absmax" | "mse" |
//            "weighted_mse"
// }
//
// A selector is a site's name (of weights), module.role, a role, module.kind, a kind, a module or
// "*"; see models/layout.h. The narrowest one wins; a kind and a module that both choose a site are
// refused. Kinds, modules and "*" rotate and smooth only what can be, and a module or "*" leaves
// norms alone. What no selector chooses stays float.
//
// The same recipe by role is what a quantized checkpoint keeps, and can be read too: rules are
// objects in the words of compressed-tensors, and what follows "shared_scales" is a list,
//   "steps": [{"name": "rotate", "site": "out_proj.input", "block": "full"}, {"name": "calibrate"},
//             {"name": "rtn", "scale": "mse"}, ...]
// Unknown keys, selectors, formats and observers are refused with the choices listed.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/dtype.h"
#include "core/quant_args.h"
#include "io/json.h"
#include "models/layout.h"
#include "quant/rounding.h"

namespace krait {

struct ObserverArgs {
  std::string name = "absmax";
  double percentile = 100.0;  ///< percentile observer: in percent
  double averaging = 0.01;    ///< percentile observer: weight of the newest sample
  bool operator==(const ObserverArgs&) const = default;
};

struct WeightRule {
  bool quantized = true;
  QuantArgs args;        ///< if quantized
  bool by_part = false;  ///< a scale for each part of the rows, stored as one per row (channel)
  std::optional<DType> dtype = {};  ///< if not: stored as this, or as it is
  bool operator==(const WeightRule&) const = default;
};

/// Whether products with these weights read codes; the embedding table does at 4 bits too.
inline bool has_codes(const QuantArgs& args) {
  return args.bits < 4 || args.codes != Codes::integer;
}

struct ActivationRule {
  bool quantized = true;
  QuantArgs args;
  ObserverArgs observer;  ///< static scales only
  bool is_static() const { return quantized && !args.is_float && !args.dynamic; }
  bool operator==(const ActivationRule&) const = default;
};

/// Sort-and-cluster of Quamba2: quant/sort_and_cluster.h.
struct ClusterStep {
  std::string site;  ///< a role
  int heads = 1, channels = 1;
  bool operator==(const ClusterStep&) const = default;
};

/// By selector; once fitted to a model by role, and by name where products of a role differ.
struct Recipe {
  std::string name, description, reference;
  std::map<std::string, WeightRule> weights;
  std::map<std::string, ActivationRule> activations;
  std::vector<std::vector<std::string>> shared_scales;
  std::optional<ClusterStep> cluster;
  std::map<std::string, std::optional<double>> smooth;  ///< alpha; none
  std::map<std::string, std::string> rotate;            ///< the block, as it is written
  std::string calibrate;                                ///< the data, or ""
  std::optional<Rounding> round;
  Json source;  ///< as read, with its base; once fitted: by role

  /// The rule for a weight: that of its name, before that of its role; or nullptr.
  const WeightRule* find_weight(const std::string& weight, const std::string& role) const;
  bool needs_calibration() const;  ///< for static scales, clusters, smoothing or rounding
  Rounding rounding() const { return round.value_or(Rounding{}); }
};

/// Errors: invalid_argument; for "base" see load_recipe().
Recipe parse_recipe(const Json& json, const std::string& where);
/// A shipped recipe by name (built into the library from recipes/) or a JSON file by path. Errors:
/// not_found, bad_data, invalid_argument; also for a base that is unknown or is itself.
Recipe load_recipe(const std::string& name_or_path);
/// The part of a recipe that concerns a model, by role: rules, scales and steps for what only other
/// architectures have are left out, and `source` is what a checkpoint keeps. Errors:
/// invalid_argument, with the choices, for selectors that no architecture has, for two that choose
/// equally well, for what no kernel can do, and for a recipe that quantizes nothing of the model.
Recipe fit_recipe(const Recipe& recipe, const ModelLayout& layout);

/// A fitted recipe in the schema of checkpoints.
Json recipe_by_role(const Recipe& fitted);

/// What became of the sites that are called alike and have one rule.
struct RuleReport {
  std::string section;  ///< "weights" or "activations"
  std::string role;     ///< or the name of a product that has a rule of its own
  std::string kind;     ///< models/layout.h
  std::int64_t sites = 0;
  std::string selector;    ///< the one that won; "": none
  std::string format;      ///< "float", or as kernels/formats.h
  std::int64_t block = 0;  ///< of the Hadamard transform of an activation; 0: none
  bool operator==(const RuleReport&) const = default;
};

/// Weights, then activations, in the order of the forward pass. Errors: see fit_recipe().
std::vector<RuleReport> explain_recipe(const Recipe& recipe, const ModelLayout& layout);

}  // namespace krait
