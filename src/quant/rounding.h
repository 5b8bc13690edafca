// How a recipe makes integers of weights: plain data, the key "round".
#pragma once

namespace krait {

/// How a step is chosen: from the largest weights, or among shrunken steps the one with the least
/// sum of squared errors, plain or weighted by the second moment of the input that each column
/// multiplies. Ternary and trellis codes have no use for the largest weights: absmax is mse there.
enum class StepChoice { absmax, mse, weighted_mse };

struct Rounding {
  enum class Method {
    nearest,
    gptq,        ///< for the outputs that the float model gives, then coordinate descent
    gptq_paper,  ///< as Frantar et al. 2022 (arXiv 2210.17323) have it
  };
  Method method = Method::nearest;
  StepChoice scale = StepChoice::absmax;

  bool is_gptq() const { return method != Method::nearest; }
  /// Products shall give what they give in the float model.
  bool has_float_target() const { return method == Method::gptq; }
  /// Whether products are rounded layer by layer, on what their inputs are.
  bool looks_at_inputs() const { return is_gptq() || scale == StepChoice::weighted_mse; }
  bool operator==(const Rounding&) const = default;
};

}  // namespace krait
