// What is in a checkpoint, without running it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "io/json.h"
#include "io/tensor_source.h"
#include "models/layout.h"

namespace krait {

/// The tensors of one role that look the same, e.g. the in_proj of every layer.
struct TensorGroup {
  std::string role, kind;  ///< "linear", "parameter" or "scale"
  std::string shape, dtype, scale;
  std::int64_t count = 0, elements = 0, bytes = 0;
};

/// By layer, -1 outside the layers, and role.
using StaticScales = std::map<int, std::map<std::string, std::vector<float>>>;

struct Inspection {
  std::string directory;
  ModelLayout layout;
  std::map<std::string, TensorInfo> tensors;  ///< by name
  std::vector<TensorGroup> groups;
  std::map<std::string, ActivationNumerics> numerics;  ///< by role
  StaticScales scales;
  Json quantization;       ///< the krait part of quantization_config
  std::int64_t bytes = 0;  ///< of all tensors
  double bits_per_weight = 0;
};

/// Reads shapes and static scales, no weights. Errors: as open_checkpoint(), describe_model() and
/// parse_numerics().
Inspection inspect_checkpoint(const std::string& directory);

/// The roles of activations, in the order of the forward pass.
std::vector<std::string> activation_roles(const ModelLayout& layout);

Json to_json(const Inspection& seen, bool with_tensors);

}  // namespace krait
