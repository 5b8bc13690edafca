// krait inspect: what is in a checkpoint, without running it.
#include <map>
#include <memory>
#include <set>
#include <string>

#include "cli/command.h"
#include "cli/output.h"
#include "cli/table.h"
#include "cli/units.h"
#include "io/checkpoint.h"
#include "models/model.h"

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

struct Inspection {
  ModelLayout layout;
  std::vector<Group> groups;
  std::int64_t total_bytes = 0;
  std::map<std::string, ActivationNumerics> numerics;
  Json provenance, recipe;
};

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

std::int64_t bytes_of(const TensorInfo& info) {
  return info.shape.elements() * static_cast<std::int64_t>(size_of(info.dtype));
}

/// "per tensor", "per row" or "" from the shape of an int8 tensor's scale.
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
                       const std::string& scale) {
    const auto found = tensors.find(name);
    if (found == tensors.end() || !used.insert(name).second) return;
    const TensorInfo& info = found->second;
    const std::string shape = info.shape.str(), dtype(name_of(info.dtype));
    Group* group = nullptr;
    for (Group& g : groups) {
      if (g.role == role && g.kind == kind && g.shape == shape && g.dtype == dtype &&
          g.scale == scale) {
        group = &g;
      }
    }
    if (!group) group = &groups.emplace_back(Group{role, kind, shape, dtype, scale});
    ++group->count;
    group->elements += info.shape.elements();
    group->bytes += bytes_of(info);
  };
  for (const LinearSite& site : layout.linears) {
    const std::string name = site.name + ".weight";
    add(site.role, "linear", name, scale_words(tensors, name, site.rows));
    add(site.role + ".bias", "parameter", site.name + ".bias", "-");
  }
  for (const ParamSite& site : layout.params) {
    add(site.role, "parameter", site.name, scale_words(tensors, site.name, site.shape[0]));
  }
  Group scales{"scales", "scale", "-", "-", "-"};
  for (const auto& [name, info] : tensors) {
    if (used.contains(name)) continue;
    ++scales.count;
    scales.elements += info.shape.elements();
    scales.bytes += bytes_of(info);
    scales.dtype = std::string(name_of(info.dtype));
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
    // Where a site is a linear's input, compressed-tensors' name for the scale is in use.
    std::vector<std::string> names{site.name + "_scale"};
    for (const std::string& name : names) {
      if (!tensors.contains(name)) continue;
      const Tensor values = to_f32(tensors.get(name).view());
      const auto span = values.as<float>();
      scales[site.layer][site.role].assign(span.begin(), span.end());
    }
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

int run(const Options& options) {
  const Checkpoint checkpoint = open_checkpoint(resolve_model(options.model));
  const TensorSource& source = *checkpoint.tensors;
  const ModelLayout layout = describe_model(checkpoint.config, source);
  const ModelInfo& info = layout.info;
  std::map<std::string, TensorInfo> tensors;
  std::int64_t total_bytes = 0;
  for (const TensorInfo& tensor : source.list()) {
    tensors[tensor.name] = tensor;
    total_bytes += bytes_of(tensor);
  }
  const std::vector<Group> groups = group_tensors(layout, tensors);
  const auto numerics = parse_numerics(checkpoint.config, layout);
  const Scales scales = read_scales(layout, source);
  const double bits = 8.0 * static_cast<double>(total_bytes) / static_cast<double>(info.parameters);
  Json krait = Json::object();
  if (const auto config = checkpoint.config.find("quantization_config");
      config != checkpoint.config.end() && config->is_object()) {
    krait = config->value("krait", Json::object());
  }

  if (options.json) {
    Json group_list = Json::array(), activations = Json::object(), tensor_list = Json::array();
    for (const Group& g : groups) {
      group_list.push_back({{"role", g.role},
                            {"kind", g.kind},
                            {"count", g.count},
                            {"shape", g.shape},
                            {"dtype", g.dtype},
                            {"scale", g.scale},
                            {"elements", g.elements},
                            {"bytes", g.bytes}});
    }
    for (const auto& [role, n] : numerics) activations[role] = numerics_words(n);
    if (options.tensors) {
      for (const auto& [name, t] : tensors) {
        tensor_list.push_back({{"name", name},
                               {"shape", t.shape.str()},
                               {"dtype", name_of(t.dtype)},
                               {"bytes", bytes_of(t)}});
      }
    }
    Json json = {{"model", checkpoint.directory}, {"architecture", info.architecture},
                 {"model_type", info.model_type}, {"d_model", info.d_model},
                 {"n_layers", info.n_layers},     {"vocab_rows", info.vocab_rows},
                 {"vocab_size", info.vocab_size}, {"parameters", info.parameters},
                 {"bytes", total_bytes},          {"bits_per_weight", bits},
                 {"groups", group_list},          {"activations", activations},
                 {"scales", scales_json(scales)}, {"quantization", krait}};
    if (options.tensors) json["tensors"] = tensor_list;
    print_json(json);
    return kSuccess;
  }

  print("{}: {} ({}), {} parameters, {} layers of {}, vocabulary {}{}\n", checkpoint.directory,
        info.model_type, info.architecture, format_count(static_cast<double>(info.parameters)),
        info.n_layers, info.d_model, info.vocab_size,
        info.vocab_rows > info.vocab_size
            ? fmt::format(" (+{} padding)", info.vocab_rows - info.vocab_size)
            : "");
  print("{} of tensors, {:.2f} bits per weight\n\n", format_bytes(static_cast<double>(total_bytes)),
        bits);
  Table table({"tensors", "count", "shape", "dtype", "scale", "bytes", "share"});
  for (const Group& g : groups) {
    table.add({g.role, std::to_string(g.count), g.shape, g.dtype, g.scale,
               format_bytes(static_cast<double>(g.bytes)),
               fmt::format("{:.1f}%", 100.0 * static_cast<double>(g.bytes) /
                                          static_cast<double>(total_bytes))});
  }
  write_out(table.str());
  if (options.tensors) {
    Table all({"tensor", "shape", "dtype", "bytes"});
    for (const auto& [name, t] : tensors) {
      all.add({name, t.shape.str(), std::string(name_of(t.dtype)), std::to_string(bytes_of(t))});
    }
    print("\n{}", all.str());
  }
  if (!numerics.empty()) {
    Table activations({"activation", "held as"});
    for (const std::string& role : roles_of(layout)) {
      const auto found = numerics.find(role);
      activations.add({role, found == numerics.end() ? "float32" : numerics_words(found->second)});
    }
    print("\n{}", activations.str());
  }
  if (!scales.empty()) print_scales(scales, roles_of(layout));
  if (const auto provenance = krait.find("provenance"); provenance != krait.end()) {
    write_out("\nProvenance\n");
    print_provenance(*provenance, "");
  }
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
