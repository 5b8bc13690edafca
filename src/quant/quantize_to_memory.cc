#include "quant/quantize_to_memory.h"

#include "quant/quantization_config.h"

namespace krait {

QuantizedModel quantize_to_memory(const Json& config, const TensorSource& tensors,
                                  const Recipe& recipe, ThreadPool& threads,
                                  const ProgressFn& progress) {
  const QuantizationPlan plan = plan_quantization(recipe, config, tensors);
  auto memory = std::make_shared<MemoryTensors>();
  CalibrationResult made_up;
  made_up.static_scales.assign(plan.static_sites.size(), kDummyActivationScale);
  for (const Smoothing& smoothing : plan.smoothings) {
    const auto site = static_cast<std::size_t>(smoothing.site);
    const std::vector<float> maxima(
        static_cast<std::size_t>(plan.layout.activations[site].channels), kDummyChannelMaximum);
    made_up.smoothing_factors.push_back(
        smoothing_factors(threads, plan.layout, tensors, smoothing, maxima));
  }
  write_tensors(plan, tensors, made_up, threads, *memory, progress);
  return {output_config(config, plan, {.source_hash = "none: random weights"}), memory};
}

}  // namespace krait
