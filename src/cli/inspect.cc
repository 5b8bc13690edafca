// krait inspect: what is in a checkpoint, without running it.
#include <map>
#include <memory>
#include <set>
#include <string>

#include "cli/command.h"
#include "cli/output.h"
#include "io/checkpoint.h"
#include "models/model.h"
#include "report/table.h"
#include "report/units.h"

namespace krait::cli {
namespace {

struct Options {
  std::string model;
  bool tensors = false, json = false;
};

/// The tensors of one role that look the same, e.g. the in_proj of every layer.
struct Group {
  std::string role, kind;  ///< kind: "linear", "parameter", "scale"
  std::string shape, dtype, scale;
  std::int64_t count = 0, elements = 0, bytes = 0;
};

std::int64_t bytes_of(const TensorInfo& info) {
  return info.shape.elements() * static_cast<std::int64_t>(size_of(info.dtype));
}

/// "per tensor", "per row" or "-" from the shape of an int8 tensor's scale.
std::string scale_words(const std::map<std::string, TensorInfo>& tensors, const std::string& name,
                        std::int64_t rows) {
  const auto scale = tensors.find(name + "_scale");
  if (scale == tensors.end()) return "-";
  const std::int64_t scales = scale->second.shape.elements();
  return scales == 1 ? "per tensor" : scales == rows ? "per row" : fmt::format("{} scales", scales);
}

std::vector<Group> group_tensors(const ModelLayout& layout,
                                 const std::map<std::string, TensorInfo>& tensors) {
  std::vector<Group> groups;
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
    Group* group = nullptr;
    for (Group& g : groups) {
      if (g.role == role && g.kind == kind && g.shape == shape && g.dtype == dtype &&
          g.scale == scale) {
        group = &g;
      }
    }
    if (!group) group = &groups.emplace_back(Group{role, kind, shape, dtype, scale});
    ++group->count;
    group->elements += elements;
    group->bytes += bytes_of(info);
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
  Group scales{"scales", "scale", "-", "-", "-"};
  for (const auto& [name, info] : tensors) {
    if (used.contains(name)) continue;
    ++scales.count;
    scales.elements += info.shape.elements();
    scales.bytes += bytes_of(info);
    const std::string dtype(name_of(info.dtype));
    scales.dtype = scales.count == 1 || scales.dtype == dtype ? dtype : "mixed";
  }
  if (scales.count > 0) groups.push_back(scales);
  return groups;
}

std::string numerics_words(const ActivationNumerics& numerics) {
  std::string text = "float32";
  if (numerics.quantized && numerics.args.is_float) {
    text = fmt::format("float{}", numerics.args.bits);
  } else if (numerics.quantized) {
    text =
        fmt::format("int{} {} per {}", numerics.args.bits,
                    numerics.args.dynamic ? "dynamic" : "static", name_of(numerics.args.strategy));
  }
  if (numerics.hadamard_block > 0) {
    text += fmt::format(", Hadamard of {}", numerics.hadamard_block);
  }
  return text;
}

/// Static scales: role -> layer -> values. Layer -1 is outside the layers.
using Scales = std::map<int, std::map<std::string, std::vector<float>>>;

Scales read_scales(const ModelLayout& layout, const TensorSource& tensors) {
  Scales scales;
  for (const ActivationSite& site : layout.activations) {
    const std::string name = site.name + "_scale";
    if (!tensors.contains(name)) continue;
    const Tensor values = to_f32(tensors.get(name).view());
    const auto span = values.as<float>();
    scales[site.layer][site.role].assign(span.begin(), span.end());
  }
  return scales;
}

std::vector<std::string> roles_of(const ModelLayout& layout) {
  std::vector<std::string> roles;
  for (const ActivationSite& site : layout.activations) {
    if (std::find(roles.begin(), roles.end(), site.role) == roles.end()) roles.push_back(site.role);
  }
  return roles;
}

void print_scales(const Scales& scales, const std::vector<std::string>& roles) {
  std::vector<std::string> present;
  for (const std::string& role : roles) {
    for (const auto& [layer, by_role] : scales) {
      if (!by_role.contains(role)) continue;
      present.push_back(role);
      break;
    }
  }
  std::vector<std::string> header{"layer"};
  header.insert(header.end(), present.begin(), present.end());
  Table table(header);
  const auto add_row = [&](int layer, const std::map<std::string, std::vector<float>>& by_role) {
    std::vector<std::string> row{layer < 0 ? "-" : std::to_string(layer)};
    for (const std::string& role : present) {
      const auto found = by_role.find(role);
      if (found == by_role.end()) {
        row.emplace_back("-");
      } else if (found->second.size() == 1) {
        row.push_back(fmt::format("{:.5g}", found->second[0]));
      } else {
        const auto [low, high] = std::minmax_element(found->second.begin(), found->second.end());
        row.push_back(fmt::format("{:.4g}..{:.4g}", *low, *high));
      }
    }
    table.add(std::move(row));
  };
  for (const auto& [layer, by_role] : scales) {
    if (layer >= 0) add_row(layer, by_role);
  }
  if (const auto outside = scales.find(-1); outside != scales.end()) add_row(-1, outside->second);
  print("\nStatic scales\n{}", table.str());
}

Json scales_json(const Scales& scales) {
  Json json = Json::array();
  for (const auto& [layer, by_role] : scales) {
    for (const auto& [role, values] : by_role) {
      json.push_back({{"layer", layer}, {"role", role}, {"scale", values}});
    }
  }
  return json;
}

void print_provenance(const Json& value, const std::string& prefix) {
  for (const auto& [key, inner] : value.items()) {
    if (inner.is_object()) {
      print_provenance(inner, prefix + key + ".");
    } else {
      print("  {}{}: {}\n", prefix, key,
            inner.is_string() ? inner.get<std::string>()
                              : inner.dump(-1, ' ', false, Json::error_handler_t::replace));
    }
  }
}

struct Inspection {
  std::string directory;
  ModelLayout layout;
  std::map<std::string, TensorInfo> tensors;
  std::vector<Group> groups;
  std::map<std::string, ActivationNumerics> numerics;  ///< by role
  Scales scales;
  Json quantization;  ///< the krait part of quantization_config
  std::int64_t bytes = 0;
  double bits_per_weight = 0;
};

Inspection inspect(const std::string& directory) {
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
    seen.bytes += bytes_of(tensor);
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

void print_as_json(const Inspection& seen, bool with_tensors) {
  const ModelInfo& info = seen.layout.info;
  Json groups = Json::array(), activations = Json::object(), tensors = Json::array();
  for (const Group& g : seen.groups) {
    groups.push_back({{"role", g.role},
                      {"kind", g.kind},
                      {"count", g.count},
                      {"shape", g.shape},
                      {"dtype", g.dtype},
                      {"scale", g.scale},
                      {"elements", g.elements},
                      {"bytes", g.bytes}});
  }
  for (const auto& [role, n] : seen.numerics) activations[role] = numerics_words(n);
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
  print_json(json);
}

void print_as_text(const Inspection& seen, bool with_tensors) {
  const ModelInfo& info = seen.layout.info;
  const std::int64_t padding = info.vocab_rows - info.vocab_size;
  print("{}: {} ({}), {} parameters, {} layers of {}, vocabulary {}{}\n", seen.directory,
        info.model_type, info.architecture, format_count(static_cast<double>(info.parameters)),
        info.n_layers, info.d_model, info.vocab_size,
        padding > 0 ? fmt::format(" (+{} padding)", padding) : "");
  print("{} of tensors, {:.2f} bits per weight\n\n", format_bytes(static_cast<double>(seen.bytes)),
        seen.bits_per_weight);
  Table table({"tensors", "count", "shape", "dtype", "scale", "bytes", "share"});
  for (const Group& g : seen.groups) {
    const double share = 100.0 * static_cast<double>(g.bytes) / static_cast<double>(seen.bytes);
    table.add({g.role, std::to_string(g.count), g.shape, g.dtype, g.scale,
               format_bytes(static_cast<double>(g.bytes)), fmt::format("{:.1f}%", share)});
  }
  write_out(table.str());
  if (with_tensors) {
    Table all({"tensor", "shape", "dtype", "bytes"});
    for (const auto& [name, t] : seen.tensors) {
      all.add({name, t.shape.str(), std::string(name_of(t.dtype)), std::to_string(bytes_of(t))});
    }
    print("\n{}", all.str());
  }
  if (!seen.numerics.empty()) {
    Table activations({"activation", "held as"});
    for (const std::string& role : roles_of(seen.layout)) {
      const auto found = seen.numerics.find(role);
      activations.add(
          {role, found == seen.numerics.end() ? "float32" : numerics_words(found->second)});
    }
    print("\n{}", activations.str());
  }
  if (!seen.scales.empty()) print_scales(seen.scales, roles_of(seen.layout));
  if (const auto found = seen.quantization.find("provenance"); found != seen.quantization.end()) {
    write_out("\nProvenance\n");
    print_provenance(*found, "");
  }
}

int run(const Options& options) {
  const Inspection seen = inspect(resolve_model(options.model));
  (options.json ? print_as_json : print_as_text)(seen, options.tensors);
  return kSuccess;
}

}  // namespace

Runner declare_inspect(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  add_model_argument(app, options->model);
  app.add_flag("--tensors", options->tensors, "List every tensor");
  add_json_option(app, options->json);
  return [options] { return run(*options); };
}

}  // namespace krait::cli
