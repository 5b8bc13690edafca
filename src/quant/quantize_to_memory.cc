#include "quant/quantize_to_memory.h"

#include "quant/quantization_config.h"

namespace krait {

QuantizedModel quantize_to_memory(const Json& config, const TensorSource& tensors,
                                  const Recipe& recipe, ThreadPool& threads,
                                  const ProgressFn& progress) {
  const QuantizationPlan plan = plan_quantization(recipe, config, tensors);
  auto memory = std::make_shared<MemoryTensors>();
  const std::vector<float> scales(plan.static_sites.size(), kDummyActivationScale);
  write_tensors(plan, tensors, scales, threads, *memory, progress);
  return {output_config(config, plan, {.source_hash = "none: random weights"}), memory};
}

}  // namespace krait
