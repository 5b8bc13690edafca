#include "quant/quantization_config.h"

#include <algorithm>
#include <optional>
#include <set>
#include <tuple>

#include "io/checkpoint.h"
#include "krait/version.h"

namespace krait {
namespace {

std::string last_component(const std::string& name) {
  return name.substr(name.find_last_of('.') + 1);
}

/// The words of compressed-tensors for one side of a product.
Json scheme(const QuantArgs& args) {
  Json json = {{"num_bits", args.bits},
               {"type", "int"},
               {"symmetric", true},
               {"strategy", name_of(args.strategy)},
               {"dynamic", args.dynamic}};
  if (args.strategy == Strategy::group) json["group_size"] = args.group_size;
  return json;
}

/// How the weights of a group lie on disk.
std::string format_of(const QuantArgs& weights) {
  return weights.bits == 4 ? "pack-quantized" : "int-quantized";
}

/// Codes are nobody's format but krait's: what reads config_groups alone leaves them aside.
bool is_coded(const QuantizationPlan& plan, const LinearSite& site) {
  const std::string& owner = site.tied_to.empty() || plan.unties_head ? site.name : site.tied_to;
  const auto tensor = std::find_if(
      plan.tensors.begin(), plan.tensors.end(),
      [&](const TensorPlan& t) { return t.is_coded() && t.name == owner + ".weight"; });
  return tensor != plan.tensors.end();
}

std::optional<QuantArgs> weight_args(const QuantizationPlan& plan, const LinearSite& site) {
  const WeightRule* rule = plan.recipe.find_weight(site.name, site.role);
  if (!rule || !rule->quantized) return std::nullopt;
  QuantArgs args = rule->args;
  if (args.strategy == Strategy::group) {
    args.group_size = static_cast<int>(group_within(args.group_size, site.cols));
  }
  return args;
}

/// Groups of linears with the same numerics on both sides, in the order of the forward pass; what
/// is in none; and the format of all, "mixed-precision" if they have several.
struct Groups {
  Json groups, ignored;
  std::string format;
};

Groups config_groups(const QuantizationPlan& plan) {
  std::vector<std::pair<Json, std::set<std::string>>> groups;  // scheme, targets
  std::set<std::string> ignored, formats;
  for (const LinearSite& site : plan.layout.linears) {
    const bool by_name = std::ranges::any_of(plan.layout.linears, [&](const LinearSite& other) {
      return other.role == site.role && other.name != other.role &&
             plan.recipe.weights.contains(other.name);
    });
    const std::string target = by_name ? site.name : "re:.*" + last_component(site.name) + "$";
    const auto weights = weight_args(plan, site);
    if (!weights || is_coded(plan, site)) {
      ignored.insert(target);
      continue;
    }
    Json input = nullptr;
    if (site.input_site >= 0) {
      const auto& role = plan.layout.activations[static_cast<std::size_t>(site.input_site)].role;
      const auto numerics = plan.numerics.find(role);
      if (numerics != plan.numerics.end() && numerics->second.quantized) {
        input = scheme(numerics->second.args);
      }
    }
    formats.insert(format_of(*weights));
    const Json group = {{"weights", scheme(*weights)},
                        {"format", format_of(*weights)},
                        {"input_activations", input},
                        {"output_activations", nullptr}};
    auto it = groups.begin();
    while (it != groups.end() && it->first != group) ++it;
    if (it == groups.end()) it = groups.emplace(it, group, std::set<std::string>());
    it->second.insert(target);
  }
  Json result = Json::object();
  for (const auto& [group, targets] : groups) {
    Json& entry = result["group_" + std::to_string(result.size())];
    entry = group;
    entry["targets"] = targets;
  }
  // Int8 parameters alone make no group.
  const std::string format = formats.empty()       ? "int-quantized"
                             : formats.size() == 1 ? *formats.begin()
                                                   : "mixed-precision";
  return {result, ignored, format};
}

Json activations_json(const QuantizationPlan& plan) {
  Json result = Json::object();
  for (const auto& [role, numerics] : plan.numerics) {
    Json& entry = result[role];
    if (numerics.quantized) {
      const QuantArgs& args = numerics.args;
      entry = {{"bits", args.bits}, {"type", args.is_float ? "float" : "int"}};
      if (!args.is_float) {
        entry["strategy"] = name_of(args.strategy);
        entry["dynamic"] = args.dynamic;
        if (args.outlier_threshold > 0) entry["outlier_threshold"] = args.outlier_threshold;
      }
    }
    if (numerics.hadamard_block > 0) entry["hadamard_block"] = numerics.hadamard_block;
  }
  return result;
}

Json weights_json(const QuantizationPlan& plan) {
  Json result = Json::object();
  const auto is_table = [&](const std::string& role) {
    return std::ranges::any_of(plan.layout.linears, [&](const LinearSite& site) {
      return site.kind == "table" && site.role == role;
    });
  };
  for (const auto& [role, rule] : plan.recipe.weights) {
    if (!rule.quantized) continue;
    result[role] = {
        {"bits", rule.args.bits}, {"type", "int"}, {"strategy", name_of(rule.args.strategy)}};
    if (rule.args.strategy != Strategy::group) continue;
    result[role]["group_size"] = rule.args.group_size;
    if (has_codes(rule.args) || is_table(role)) {
      result[role]["codes"] = name_of(rule.args.codes);
    }
  }
  return result;
}

/// transformers' name of the dtype that all matrices have; nothing if they differ.
std::optional<std::string> common_dtype(const QuantizationPlan& plan) {
  std::set<DType> dtypes;
  for (const TensorPlan& tensor : plan.tensors) {
    if (tensor.shape.rank() == 2 && tensor.name.ends_with(".weight")) dtypes.insert(tensor.dtype);
  }
  if (dtypes.size() != 1) return std::nullopt;
  return *dtypes.begin() == DType::f16    ? "float16"
         : *dtypes.begin() == DType::bf16 ? "bfloat16"
                                          : "float32";
}

}  // namespace

std::string recipe_hash(const Recipe& recipe) {
  return "sha256:" + sha256_hex(recipe.source.dump(-1, ' ', true, Json::error_handler_t::replace));
}

Json provenance_json(const Recipe& recipe, const Provenance& provenance) {
  Json result = {{"source_sha256", provenance.source_hash},
                 {"krait_version", version()},
                 {"recipe_sha256", recipe_hash(recipe)},
                 {"seed", provenance.seed}};
  if (provenance.calibrated) {
    result["calibration"] = {{"source", provenance.calibration_source},
                             {"sha256", provenance.calibration_hash},
                             {"samples", provenance.samples},
                             {"tokens", provenance.tokens},
                             {"seq_len", provenance.seq_len}};
  }
  return result;
}

Json output_config(const Json& config, const QuantizationPlan& plan, const Provenance& provenance) {
  Json result = config;
  const auto& linears = plan.layout.linears;
  const bool was_tied = std::any_of(linears.begin(), linears.end(),
                                    [](const LinearSite& site) { return !site.tied_to.empty(); });
  // A duplicate of the table that was stored as the head is gone, whatever config.json said of it.
  for (const char* key : {"tie_word_embeddings", "tie_embeddings"}) {
    if (was_tied && (result.contains(key) || plan.unties_head)) result[key] = !plan.unties_head;
  }
  if (!plan.quantizes) {
    const char* key = config.contains("dtype") ? "dtype" : "torch_dtype";  // new and old name
    if (const auto dtype = common_dtype(plan)) result[key] = *dtype;
    return result;
  }
  const Groups groups = config_groups(plan);
  result["quantization_config"] = {{"quant_method", "compressed-tensors"},
                                   {"format", groups.format},
                                   {"quantization_status", "compressed"},
                                   {"config_groups", groups.groups},
                                   {"ignore", groups.ignored},
                                   {"krait",
                                    {{"format_version", 1},
                                     {"recipe", plan.recipe.source},
                                     {"weights", weights_json(plan)},
                                     {"activations", activations_json(plan)},
                                     {"provenance", provenance_json(plan.recipe, provenance)}}}};
  return result;
}

}  // namespace krait
