#include "quant/model_card.h"

#include <algorithm>
#include <map>

#include "core/check.h"
#include "krait/version.h"
#include "models/describe_text.h"

namespace krait {
namespace {

std::string weight_text(const WeightRule& rule) {
  if (rule.quantized) return format_name(rule.args, rule.by_part);
  return rule.dtype ? std::string(format_name(*rule.dtype)) : "float";
}

/// Smallest, median and largest scale over the layers, by role.
std::string scale_table(const QuantizationPlan& plan,
                        const std::vector<std::vector<float>>& scales) {
  std::map<std::string, std::vector<float>> by_role;
  for (std::size_t i = 0; i < scales.size(); ++i) {
    const auto site = static_cast<std::size_t>(plan.static_sites[i]);
    std::vector<float>& values = by_role[plan.layout.activations[site].role];
    values.insert(values.end(), scales[i].begin(), scales[i].end());
  }
  std::string text;
  for (auto& [role, values] : by_role) {
    std::sort(values.begin(), values.end());
    text += fmt::format("| {} | {:.6g} | {:.6g} | {:.6g} |\n", role, values.front(),
                        values[values.size() / 2], values.back());
  }
  return text;
}

}  // namespace

std::string model_card(const QuantizationPlan& plan,
                       const std::vector<std::vector<float>>& static_scales,
                       const Provenance& provenance) {
  const Recipe& recipe = plan.recipe;
  const auto parameters = static_cast<double>(plan.layout.info.parameters);
  const bool is_4bit =
      std::any_of(plan.tensors.begin(), plan.tensors.end(), [](const TensorPlan& tensor) {
        return tensor.integers && tensor.integers->bits == 4 && !tensor.is_coded();
      });
  std::string text = "---\nlibrary_name: krait\ntags:\n- " + plan.layout.info.model_type +
                     (plan.quantizes ? "\n- int8" : "") + (is_4bit ? "\n- int4" : "") + "\n---\n";
  text += fmt::format("# {}, {}\n\n{}.\n", plan.layout.info.architecture, recipe.name,
                      recipe.description.empty() ? "Made by krait" : recipe.description);
  if (!recipe.reference.empty()) text += fmt::format("Method: {}.\n", recipe.reference);
  text +=
      fmt::format("\n{} parameters in {} bytes, {:.3f} bits each.\n", plan.layout.info.parameters,
                  plan.output_bytes(), 8 * static_cast<double>(plan.output_bytes()) / parameters);

  text += "\n| weight | stored as |\n|---|---|\n";
  for (const auto& [role, rule] : recipe.weights) {
    text += fmt::format("| {} | {} |\n", role, weight_text(rule));
  }
  text += "\nWhat is not listed is as in the original.\n";
  if (!plan.numerics.empty()) {
    text += "\n| activation | held as |\n|---|---|\n";
    for (const auto& [role, numerics] : plan.numerics) {
      text += fmt::format("| {} | {} |\n", role, numerics_text(numerics));
    }
  }
  if (!static_scales.empty()) {
    text += "\n| static scale | smallest | median | largest |\n|---|---|---|---|\n" +
            scale_table(plan, static_scales);
  }
  text += fmt::format("\nMade by krait {} from {}, seed {}, {}.\n", version(),
                      provenance.source_hash, provenance.seed, recipe_hash(recipe));
  if (provenance.calibrated) {
    text += fmt::format("Calibrated on {} samples, {} tokens, at most {} each, of {} ({}).\n",
                        provenance.samples, provenance.tokens, provenance.seq_len,
                        provenance.calibration_source, provenance.calibration_hash);
  }
  return text;
}

}  // namespace krait
