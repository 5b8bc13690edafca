// The table of architectures: adding one is a row here and a file beside it.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "models/dummy.h"
#include "models/layout.h"
#include "models/model.h"

namespace krait {

struct Architecture {
  std::string_view name;            ///< config.json's "architectures"
  std::string_view model_type;      ///< config.json's "model_type"
  std::string_view original_layer;  ///< ssm_cfg.layer of state-spaces' own configs
  ModelLayout (*describe)(const Json& config, const TensorSource& tensors);
  std::unique_ptr<Model> (*load)(Context& ctx, const Json& config, const TensorSource& tensors);
  DummyShapes dummies;  ///< published shapes
};

std::span<const Architecture> architectures() noexcept;

/// The row that config.json asks for: by model_type, else by architectures, else (a config of the
/// original state-spaces code) by ssm_cfg.layer. Error: unsupported, with the known ones.
const Architecture& find_architecture(const Json& config);

/// What recipes can name: a role of weights, parameters or activations, and what it belongs to.
struct KnownRole {
  std::string role, module, kind;  ///< models/layout.h
};

/// Those that the architectures have, each once.
const std::vector<KnownRole>& known_roles();

}  // namespace krait
