#include "models/families/families.h"

#include <set>

#include "core/check.h"
#include "core/printable.h"
#include "models/config.h"
#include "models/decoder.h"
#include "models/families/all.h"

namespace krait {
namespace {

constexpr const Family* kFamilies[] = {&kMamba, &kGptNeox, &kJamba, &kMamba2, &kBamba};

}  // namespace

std::span<const Family* const> families() noexcept { return kFamilies; }

std::string known_architectures() {
  std::string text;
  for (const Family* row : kFamilies) {
    text += fmt::format("{}{} ({})", text.empty() ? "" : ", ", row->model_type, row->architecture);
  }
  return text;
}

const Family& find_family(const Json& config) {
  if (!config.is_object()) fail(ErrorCode::bad_data, "config.json must be an object");
  std::string model_type = config_string(config, "model_type");
  // Mistral's params.json calls Mamba-2 mamba, and is told by the names of its sizes.
  if (model_type == "mamba" && config.contains("dim")) model_type = "mamba2";
  for (const Family* row : kFamilies) {
    if (row->model_type == model_type) return *row;
  }
  std::string names;
  const auto list = config.find("architectures");
  if (model_type.empty() && list != config.end() && list->is_array()) {
    for (const Json& name : *list) {
      if (!name.is_string()) continue;
      for (const Family* row : kFamilies) {
        if (row->architecture == name.get<std::string>()) return *row;
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
  for (const Family* row : kFamilies) {
    if (row->original_layer == (layer.empty() ? "Mamba1" : layer)) return *row;
  }
  fail(ErrorCode::unsupported, "config.json: ssm_cfg.layer {} is not supported, known are: {}",
       printable(layer), known_architectures());
}

DecoderConfig read_published(const Family& family, const Json& config) {
  const auto nothing = make_memory_source({});
  const TensorCheck shapes(*nothing);
  return family.read({config, shapes, *nothing});
}

const std::vector<KnownRole>& known_roles() {
  static const std::vector<KnownRole> known = [] {
    std::set<KnownRole> roles;
    for (const Family* row : kFamilies) {
      const Json config = row->shapes.config(row->shapes.names.front());
      const ModelLayout layout = describe_decoder(read_published(*row, config));
      const auto add = [&](const auto& sites) {
        for (const auto& site : sites) roles.insert({site.role, site.module, site.kind});
      };
      add(layout.linears);
      add(layout.params);
      add(layout.activations);
    }
    return std::vector<KnownRole>(roles.begin(), roles.end());
  }();
  return known;
}

}  // namespace krait
