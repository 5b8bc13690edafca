#include "quant/quantize_to_memory.h"

#include "quant/quantization_config.h"
#include "quant/sort_and_cluster.h"
#include "quant/write_tensors.h"

namespace krait {

QuantizedModel quantize_to_memory(const Json& config, const TensorSource& tensors,
                                  const Recipe& recipe, ThreadPool& threads,
                                  const ProgressFn& progress, Digits digits) {
  QuantizationPlan plan = plan_quantization(recipe, config, tensors);
  plan.rough = digits == Digits::rough;
  auto memory = std::make_shared<MemoryTensors>();
  std::unique_ptr<const TensorSource> in_new_order;
  if (plan.recipe.cluster) {
    in_new_order = sort_and_cluster(plan, tensors, dummy_magnitudes(plan.layout));
  }
  const TensorSource& ordered = in_new_order ? *in_new_order : tensors;
  CalibrationResult made_up;
  for (const int site : plan.static_sites) {
    made_up.static_scales.emplace_back(plan.scale_count(site), kDummyActivationScale);
  }
  for (const Smoothing& smoothing : plan.smoothings) {
    const auto site = static_cast<std::size_t>(smoothing.site);
    const std::vector<float> maxima(
        static_cast<std::size_t>(plan.layout.activations[site].channels), kDummyChannelMaximum);
    made_up.smoothing_factors.push_back(
        smoothing_factors(threads, plan.layout, ordered, smoothing, maxima));
  }
  write_tensors(plan, ordered, made_up, {}, threads, *memory, progress);
  return {output_config(config, plan, {.source_hash = "none: random weights"}), memory};
}

}  // namespace krait
