// krait inspect: what is in a checkpoint, without running it.
#include "report/inspection.h"

#include <memory>
#include <string>

#include "cli/command.h"
#include "cli/output.h"
#include "models/describe_text.h"
#include "quant/plan.h"
#include "quant/recipe.h"
#include "report/table.h"
#include "report/tables.h"
#include "report/units.h"

namespace krait::cli {
namespace {

struct Options {
  std::string model, recipe;
  bool tensors = false, json = false;
};

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
  for (const TensorGroup& g : seen.groups) {
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
    for (const std::string& role : activation_roles(seen.layout)) {
      const auto found = seen.numerics.find(role);
      activations.add(
          {role, found == seen.numerics.end() ? "float32" : numerics_text(found->second)});
    }
    print("\n{}", activations.str());
  }
  if (!seen.scales.empty()) print("\nStatic scales\n{}", scale_table(seen).str());
  if (const auto found = seen.quantization.find("provenance"); found != seen.quantization.end()) {
    write_out("\nProvenance\n");
    print_provenance(*found, "");
  }
}

/// Which rule of a recipe wins at each site of a model, and what stays float.
int explain(const Options& options) {
  const Inspection seen = inspect_checkpoint(resolve_model(options.model));
  const Recipe recipe = load_recipe(options.recipe);
  const std::vector<RuleReport> reports = explain_recipe(recipe, seen.layout);
  if (options.json) {
    Json sites = Json::array();
    for (const RuleReport& report : reports) {
      sites.push_back({{"section", report.section},
                       {"role", report.role},
                       {"kind", report.kind},
                       {"sites", report.sites},
                       {"selector", report.selector},
                       {"format", report.format},
                       {"hadamard_block", report.block}});
    }
    print_json({{"recipe", fit_recipe(recipe, seen.layout).source}, {"sites", sites}});
    return kSuccess;
  }
  for (const char* section : {"weights", "activations"}) {
    Table table({section, "kind", "sites", "rule", "format", "Hadamard"});
    for (const RuleReport& report : reports) {
      if (report.section != section || report.kind == "norm") continue;
      table.add({report.role, report.kind, std::to_string(report.sites),
                 report.selector.empty() ? "-" : report.selector, report.format,
                 report.block > 0 ? std::to_string(report.block) : "-"});
    }
    print("{}{}", section == std::string("weights") ? "" : "\n", table.str());
  }
  return kSuccess;
}

int run(const Options& options) {
  if (!options.recipe.empty()) return explain(options);
  const Inspection seen = inspect_checkpoint(resolve_model(options.model));
  if (options.json) {
    print_json(to_json(seen, options.tensors));
  } else {
    print_as_text(seen, options.tensors);
  }
  return kSuccess;
}

}  // namespace

Runner declare_inspect(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  add_model_argument(app, options->model);
  app.add_flag("--tensors", options->tensors, "List every tensor");
  app.add_option("--recipe", options->recipe,
                 "Say what this recipe makes of each site: which rule wins, what stays float")
      ->type_name("NAME");
  add_json_option(app, options->json);
  return [options] { return run(*options); };
}

}  // namespace krait::cli
