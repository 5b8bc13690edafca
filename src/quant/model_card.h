// README.md of a quantized checkpoint.
#pragma once

#include <string>
#include <vector>

#include "quant/plan.h"
#include "quant/quantization_config.h"

namespace krait {

/// Markdown: the recipe, what became of which tensors, a summary of the static scales, provenance.
/// Depends on its arguments only. static_scales[i] belongs to plan.static_sites[i].
std::string model_card(const QuantizationPlan& plan,
                       const std::vector<std::vector<float>>& static_scales,
                       const Provenance& provenance);

}  // namespace krait
