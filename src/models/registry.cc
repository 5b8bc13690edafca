#include "models/registry.h"

#include <set>

#include "core/check.h"
#include "core/printable.h"
#include "models/config.h"
#include "models/gpt_neox.h"
#include "models/jamba.h"
#include "models/mamba1.h"
#include "models/mamba2.h"

namespace krait {
namespace {

const Architecture kArchitectures[] = {
    {"MambaForCausalLM", "mamba", "Mamba1", describe_mamba1, load_mamba1, mamba1_shapes()},
    {"GPTNeoXForCausalLM", "gpt_neox", "", describe_gpt_neox, load_gpt_neox, gpt_neox_shapes()},
    {"JambaForCausalLM", "jamba", "", describe_jamba, load_jamba, jamba_shapes()},
    {"Mamba2ForCausalLM", "mamba2", "Mamba2", describe_mamba2, load_mamba2, mamba2_shapes()},
};

}  // namespace

std::span<const Architecture> architectures() noexcept { return kArchitectures; }

std::string known_architectures() {
  std::string text;
  for (const Architecture& row : kArchitectures) {
    text += fmt::format("{}{} ({})", text.empty() ? "" : ", ", row.model_type, row.name);
  }
  return text;
}

const Architecture& find_architecture(const Json& config) {
  if (!config.is_object()) fail(ErrorCode::bad_data, "config.json must be an object");
  std::string model_type = config_string(config, "model_type");
  // Mistral's params.json calls Mamba-2 mamba, and is told by the names of its sizes.
  if (model_type == "mamba" && config.contains("dim")) model_type = "mamba2";
  for (const Architecture& row : kArchitectures) {
    if (row.model_type == model_type) return row;
  }
  std::string names;
  const auto list = config.find("architectures");
  if (model_type.empty() && list != config.end() && list->is_array()) {
    for (const Json& name : *list) {
      if (!name.is_string()) continue;
      for (const Architecture& row : kArchitectures) {
        if (row.name == name.get<std::string>()) return row;
      }
      names += (names.empty() ? "" : ", ") + name.get<std::string>();
    }
  }
  if (!model_type.empty()) {
    fail(ErrorCode::unsupported, "config.json: model_type {} is not supported, known are: {}",
         printable(model_type), known_architectures());
  }
  if (!names.empty()) {
    fail(ErrorCode::unsupported, "config.json: architectures {} are not supported, known are: {}",
         printable(names), known_architectures());
  }
  if (!config.contains("ssm_cfg")) {
    fail(ErrorCode::unsupported,
         "config.json names no architecture (model_type, architectures or ssm_cfg), known are: {}",
         known_architectures());
  }
  const auto attention = config.find("attn_layer_idx");
  if (attention != config.end() && attention->is_array() && !attention->empty()) {
    fail(ErrorCode::unsupported,
         "config.json: attn_layer_idx asks for attention layers, which are not supported; known "
         "are: {}",
         known_architectures());
  }
  const std::string layer = config_string(config_object(config, "ssm_cfg"), "layer");
  for (const Architecture& row : kArchitectures) {
    if (row.original_layer == (layer.empty() ? "Mamba1" : layer)) return row;
  }
  fail(ErrorCode::unsupported, "config.json: ssm_cfg.layer {} is not supported, known are: {}",
       printable(layer), known_architectures());
}

const std::vector<KnownRole>& known_roles() {
  static const std::vector<KnownRole> known = [] {
    std::vector<KnownRole> roles;
    std::set<std::string> seen;
    const auto add = [&](const auto& sites) {
      for (const auto& site : sites) {
        if (seen.insert(site.module + " " + site.role).second) {
          roles.push_back({site.role, site.module, site.kind});
        }
      }
    };
    for (const Architecture& row : kArchitectures) {
      const DummyModel model = make_dummy_model(std::string(row.dummies.names.front()));
      const ModelLayout layout = row.describe(model.config, *model.tensors);
      add(layout.linears);
      add(layout.params);
      add(layout.activations);
    }
    return roles;
  }();
  return known;
}

ModelLayout describe_model(const Json& config, const TensorSource& tensors) {
  return find_architecture(config).describe(config, tensors);
}

std::unique_ptr<Model> load_model(Context& ctx, const Json& config, const TensorSource& tensors) {
  return find_architecture(config).load(ctx, config, tensors);
}

}  // namespace krait
