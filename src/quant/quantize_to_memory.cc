#include "quant/quantize_to_memory.h"

#include "quant/quantization_config.h"
#include "quant/sort_and_cluster.h"

namespace krait {

QuantizedModel quantize_to_memory(const Json& config, const TensorSource& tensors,
                                  const Recipe& recipe, ThreadPool& threads,
                                  const ProgressFn& progress) {
  QuantizationPlan plan = plan_quantization(recipe, config, tensors);
  auto memory = std::make_shared<MemoryTensors>();
  std::unique_ptr<const TensorSource> in_new_order;
  if (plan.recipe.find_step("cluster")) {
    in_new_order = sort_and_cluster(plan, tensors, dummy_magnitudes(plan.layout));
  }
  StaticScales scales;
  for (const int site : plan.static_sites) {
    scales.emplace_back(plan.scale_count(site), kDummyActivationScale);
  }
  write_tensors(plan, in_new_order ? *in_new_order : tensors, scales, threads, *memory, progress);
  return {output_config(config, plan, {.source_hash = "none: random weights"}), memory};
}

}  // namespace krait
