#include "report/inspection.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "io/checkpoint.h"
#include "models/describe_text.h"
#include "models/model.h"
#include "quant/plan.h"

namespace krait {
namespace {

/// "per tensor", "per row" or "-" from the shape of an int8 tensor's scale.
std::string scale_words(const std::map<std::string, TensorInfo>& tensors, const std::string& name,
                        std::int64_t rows) {
  const auto scale = tensors.find(name + "_scale");
  if (scale == tensors.end()) return "-";
  const std::int64_t scales = scale->second.shape.elements();
  return scales == 1 ? "per tensor" : scales == rows ? "per row" : fmt::format("{} scales", scales);
}

std::vector<TensorGroup> group_tensors(const ModelLayout& layout,
                                       const std::map<std::string, TensorInfo>& tensors) {
  std::vector<TensorGroup> groups;
  std::set<std::string> used;
  const auto add = [&](const std::string& role, const std::string& kind, const std::string& name,
                       const std::string& scale, const LinearSite* codes = nullptr) {
    const auto found = tensors.find(name);
    if (found == tensors.end() || !used.insert(name).second) return;
    const TensorInfo& info = found->second;
    // Words of eight 4-bit weights and codes are shown as what they hold.
    const bool is_packed = name.ends_with("_packed");
    const Shape holds = codes       ? Shape{codes->rows, codes->cols}
                        : is_packed ? Shape{info.shape[0], info.shape[1] * 8}
                                    : info.shape;
    const std::int64_t elements = holds.elements();
    const std::string shape = holds.str();
    const std::string dtype = name.ends_with("_trits") ? "ternary"
                              : codes
                                  ? fmt::format("codes, {} bits", info.shape[1] * 4 / codes->cols)
                              : is_packed ? "I4"
                                          : std::string(name_of(info.dtype));
    TensorGroup* group = nullptr;
    for (TensorGroup& g : groups) {
      if (g.role == role && g.kind == kind && g.shape == shape && g.dtype == dtype &&
          g.scale == scale) {
        group = &g;
      }
    }
    if (!group) group = &groups.emplace_back(TensorGroup{role, kind, shape, dtype, scale});
    ++group->count;
    group->elements += elements;
    group->bytes += static_cast<std::int64_t>(bytes_of(info));
  };
  for (const LinearSite& site : layout.linears) {
    const std::string name = site.name + ".weight";
    for (const std::string& form : {name + "_packed", name + "_codes", name + "_trits"}) {
      if (!tensors.contains(form)) continue;
      const std::int64_t scales = tensors.at(name + "_scale").shape[1];
      add(site.role, "linear", form, fmt::format("groups of {}", site.cols / scales),
          form.ends_with("_packed") ? nullptr : &site);
    }
    add(site.role, "linear", name, scale_words(tensors, name, site.rows));
    const std::string bias = site.name + ".bias";
    add(site.role + ".bias", "parameter", bias, scale_words(tensors, bias, site.rows));
  }
  for (const ParamSite& site : layout.params) {
    add(site.role, "parameter", site.name + "_packed", "per tensor");
    add(site.role, "parameter", site.name, scale_words(tensors, site.name, site.shape[0]));
  }
  TensorGroup scales{"scales", "scale", "-", "-", "-"};
  for (const auto& [name, info] : tensors) {
    if (used.contains(name)) continue;
    ++scales.count;
    scales.elements += info.shape.elements();
    scales.bytes += static_cast<std::int64_t>(bytes_of(info));
    const std::string dtype(name_of(info.dtype));
    scales.dtype = scales.count == 1 || scales.dtype == dtype ? dtype : "mixed";
  }
  if (scales.count > 0) groups.push_back(scales);
  return groups;
}

StaticScales read_scales(const ModelLayout& layout, const TensorSource& tensors) {
  StaticScales scales;
  for (const ActivationSite& site : layout.activations) {
    const std::string name = site.name + "_scale";
    if (!tensors.contains(name)) continue;
    const Tensor values = to_f32(tensors.get(name).view());
    const auto span = values.as<float>();
    scales[site.layer][site.role].assign(span.begin(), span.end());
  }
  return scales;
}

Json scales_json(const StaticScales& scales) {
  Json json = Json::array();
  for (const auto& [layer, by_role] : scales) {
    for (const auto& [role, values] : by_role) {
      json.push_back({{"layer", layer}, {"role", role}, {"scale", values}});
    }
  }
  return json;
}

}  // namespace

std::vector<std::string> activation_roles(const ModelLayout& layout) {
  std::vector<std::string> roles;
  for (const ActivationSite& site : layout.activations) {
    if (std::find(roles.begin(), roles.end(), site.role) == roles.end()) roles.push_back(site.role);
  }
  return roles;
}

Inspection inspect_checkpoint(const std::string& directory) {
  const Checkpoint checkpoint = open_checkpoint(directory);
  Inspection seen{.directory = directory,
                  .layout = describe_model(checkpoint.config, *checkpoint.tensors),
                  .tensors = {},
                  .groups = {},
                  .numerics = {},
                  .scales = {},
                  .quantization = Json::object()};
  for (const TensorInfo& tensor : checkpoint.tensors->list()) {
    seen.tensors[tensor.name] = tensor;
    seen.bytes += static_cast<std::int64_t>(bytes_of(tensor));
  }
  seen.groups = group_tensors(seen.layout, seen.tensors);
  seen.numerics = parse_numerics(checkpoint.config, seen.layout);
  seen.scales = read_scales(seen.layout, *checkpoint.tensors);
  seen.bits_per_weight =
      8.0 * static_cast<double>(seen.bytes) / static_cast<double>(seen.layout.info.parameters);
  const auto config = checkpoint.config.find("quantization_config");
  if (config != checkpoint.config.end() && config->is_object()) {
    seen.quantization = config->value("krait", Json::object());
  }
  return seen;
}

Json to_json(const Inspection& seen, bool with_tensors) {
  const ModelInfo& info = seen.layout.info;
  Json groups = Json::array(), activations = Json::object(), tensors = Json::array();
  for (const TensorGroup& g : seen.groups) {
    groups.push_back({{"role", g.role},
                      {"kind", g.kind},
                      {"count", g.count},
                      {"shape", g.shape},
                      {"dtype", g.dtype},
                      {"scale", g.scale},
                      {"elements", g.elements},
                      {"bytes", g.bytes}});
  }
  for (const auto& [role, n] : seen.numerics) activations[role] = numerics_text(n);
  Json json = {{"model", seen.directory},
               {"architecture", info.architecture},
               {"model_type", info.model_type},
               {"d_model", info.d_model},
               {"n_layers", info.n_layers},
               {"vocab_rows", info.vocab_rows},
               {"vocab_size", info.vocab_size},
               {"parameters", info.parameters},
               {"bytes", seen.bytes},
               {"bits_per_weight", seen.bits_per_weight},
               {"groups", groups},
               {"activations", activations},
               {"scales", scales_json(seen.scales)},
               {"quantization", seen.quantization}};
  if (with_tensors) {
    for (const auto& [name, t] : seen.tensors) {
      tensors.push_back({{"name", name},
                         {"shape", t.shape.str()},
                         {"dtype", name_of(t.dtype)},
                         {"bytes", bytes_of(t)}});
    }
    json["tensors"] = tensors;
  }
  return json;
}

}  // namespace krait
