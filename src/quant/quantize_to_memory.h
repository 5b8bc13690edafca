// Quantization without a disk: what `krait bench --dummy` runs.
#pragma once

#include <memory>

#include "krait/quantize.h"
#include "quant/plan.h"

namespace krait {

struct QuantizedModel {
  Json config;
  std::shared_ptr<TensorSource> tensors;
};

/// Made-up scale of every static site: of the size that normalised activations have. Results of a
/// model quantized in memory mean nothing, its speed and its memory do.
inline constexpr float kDummyActivationScale = 8.0f / 127;
/// The largest magnitudes of a site that is smoothed: the same in all channels.
inline constexpr float kDummyChannelMaximum = 8.0f;

/// rough: what does for measuring speed. Searched steps and the best words of a trellis code take
/// minutes for a billion weights, the step of the largest value and random words seconds.
enum class Digits { nearest, rough };

/// Tensor by tensor, so that a source that generates its tensors on demand never exists as a whole.
/// No calibration: static scales are kDummyActivationScale, clusters are made up and all integers
/// the nearest unless a rough model will do. Errors: see plan_quantization.
QuantizedModel quantize_to_memory(const Json& config, const TensorSource& tensors,
                                  const Recipe& recipe, ThreadPool& threads,
                                  const ProgressFn& progress = {}, Digits digits = Digits::nearest);

}  // namespace krait
