// How a block shows itself: visit(block, visitor) names each of its tensors and places once, in the
// order of the forward pass. Describing, loading and counting are visitors.
#pragma once

#include <array>
#include <span>
#include <string>
#include <string_view>

#include "models/decoder_config.h"
#include "models/layout.h"
#include "models/norm.h"
#include "models/weights.h"

namespace krait {

class Visitor {
 public:
  virtual ~Visitor() = default;

  // Where the walk is: what is said below belongs there.
  std::string prefix;     ///< of tensors
  std::string sites;      ///< prefix of places
  std::string module;     ///< "mamba", "attention", "mlp", "ends"
  int layer = -1;         ///< -1 outside the layers
  std::string norm_name;  ///< of the norm whose value the block reads
  std::int64_t d_model = 0;

  /// A place: `told` has role, channels and what it is; name, module, layer and kind follow.
  virtual void site(Site& to, ActivationSite told) = 0;
  /// A product of what `input` holds: `told` has role, rows, cols and what it is. Tensors that were
  /// named before are the same ones.
  virtual void product(Weight& to, LinearSite told, const Site& input) = 0;
  /// A small parameter: `told` has role (which follows the prefix in its name), shape and init.
  virtual void param(Tensor& to, ParamSite told) = 0;
  /// A depthwise convolution over `taps` tokens: its channels are those of `inputs`, one after the
  /// other, and to[i] takes those of inputs[i].
  virtual void convolution(std::span<ConvWeight* const> to, std::span<const Site* const> inputs,
                           std::int64_t taps, bool has_bias) = 0;
  /// What may change places in this block.
  virtual void head_order(HeadOrder) {}

  /// The full name of what is told.
  std::string name_of(const ActivationSite& told) const { return sites + told.role; }
  std::string name_of(const auto& told) const {
    return told.name.empty() ? prefix + told.role : told.name;
  }

  /// A norm over `channels`; spec.name follows the prefix.
  void norm(Norm& to, const NormSpec& spec, std::int64_t channels, std::string_view role = "norm");
};

}  // namespace krait
