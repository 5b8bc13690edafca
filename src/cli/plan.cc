// krait plan: what fits on a board, and how fast it will be, before anything is quantized.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "cli/command.h"
#include "cli/output.h"
#include "core/check.h"
#include "core/choices.h"
#include "core/cpu_info.h"
#include "core/thread_pool.h"
#include "io/checkpoint.h"
#include "kernels/machine/machine.h"
#include "models/dummy.h"
#include "models/model.h"
#include "quant/embedded.h"
#include "report/fits.h"
#include "report/units.h"

namespace krait::cli {
namespace {

struct Options {
  std::string model, memory;
  double bandwidth = 0;  // GB/s; 0: measured
  int threads = 0;
  bool all = false, json = false;
};

/// "512M", "1.5G", "2 GiB", "800000": powers of 1000, with an i of 1024.
double parse_bytes(const std::string& text) {
  double number = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  std::string_view unit(rest, static_cast<std::size_t>(end - rest));
  if (unit.starts_with(' ')) unit.remove_prefix(1);
  if (unit.ends_with('B')) unit.remove_suffix(1);
  const double base = unit.ends_with('i') ? 1024 : 1000;
  if (unit.ends_with('i')) unit.remove_suffix(1);
  if (unit == "K") unit = "k";
  const std::size_t power = unit.empty() ? 0 : std::string_view("kMGT").find(unit);
  if (error != std::errc() || !(number > 0 && number < 1e15) || unit.size() > 1 || power > 3) {
    throw UsageError("--memory should be like 512M or 1.5G, got " + text);
  }
  return number * (unit.empty() ? 1 : std::pow(base, 1 + static_cast<int>(power)));
}

/// A directory, or random weights of a published shape.
Checkpoint read_model(const std::string& name) {
  const std::vector<std::string> shapes = dummy_names();
  if (std::ranges::find(shapes, name) != shapes.end()) {
    const DummyModel dummy = make_dummy_model(name);
    return {name, dummy.config, nullptr, dummy.tensors};
  }
  check(name.empty() || std::filesystem::exists(name), ErrorCode::not_found,
        "there is no directory {0}, and no shape {1}", name, unknown_name(name, shapes));
  return open_checkpoint(resolve_model(name));
}

std::vector<std::string> recipes_to_show(bool all) {
  std::vector<std::string> names;
  for (const EmbeddedRecipe& recipe : embedded_recipes()) {
    if (all || recipe.folder.empty()) names.emplace_back(recipe.name);
  }
  return names;
}

void print_as_text(const Fits& plan, const std::string& bandwidth) {
  print("{}\n", fits_table(plan).str());
  print(
      "to run: with a sequence of 1,000 tokens; to quantize: about, with the default calibration\n"
      "ms/token: predicted for decoding, at {:.0f}% of {} {}/s\n",
      100 * kShareOfBandwidth, bandwidth, format_bytes(plan.bandwidth));
  if (!plan.unfit.empty()) {
    std::string names;
    for (const auto& [recipe, why] : plan.unfit) names += (names.empty() ? "" : ", ") + recipe;
    print("not for this model: {}\n", names);
  }
  if (plan.memory == 0) return;
  if (const Footprint* best = plan.best()) {
    print("best fit in {}: {}, {} bits per weight, {} to run\n", format_bytes(plan.memory),
          best->recipe, fmt::format("{:.2f}", best->bits_per_weight),
          format_bytes(static_cast<double>(best->running)));
  } else {
    print("nothing fits in {}\n", format_bytes(plan.memory));
  }
}

int run(const Options& options) {
  Fits plan;
  if (!options.memory.empty()) plan.memory = parse_bytes(options.memory);
  const Checkpoint model = read_model(options.model);
  const ModelLayout layout = describe_model(model.config, *model.tensors);
  check(!model.config.contains("quantization_config"), ErrorCode::invalid_argument,
        "{} is quantized already: krait inspect says what it takes; plan for its float original",
        model.tensors->where());
  plan.add(model.config, *model.tensors, recipes_to_show(options.all));
  const int count = options.threads > 0 ? options.threads : hardware_threads();
  std::string bandwidth = "the given";
  plan.bandwidth = 1e9 * options.bandwidth;
  if (plan.bandwidth == 0) {
    ThreadPool threads(count);
    plan.bandwidth = measure_read_bandwidth(threads, select_isa());
    bandwidth = fmt::format("this machine's ({} threads)", count);
  }
  if (options.json) {
    Json json = to_json(plan);
    json["model"] = model.directory;
    json["parameters"] = layout.info.parameters;
    print_json(json);
    return kSuccess;
  }
  print("{} ({}), {} parameters, {} layers of {}\n\n", layout.info.model_type,
        layout.info.architecture, format_count(static_cast<double>(layout.info.parameters)),
        layout.info.n_layers, layout.info.d_model);
  print_as_text(plan, bandwidth);
  return kSuccess;
}

}  // namespace

Runner declare_plan(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  app.add_option(
      "MODEL", options->model,
      fmt::format(
          "Directory of a float checkpoint (default: $KRAIT_MODEL, else the demo model), or a "
          "published shape: {}",
          fmt::join(dummy_names(), ", ")));
  app.add_option("--memory", options->memory, "What there is, such as 512M or 1.5G: says what fits")
      ->type_name("SIZE");
  app.add_option("--bandwidth", options->bandwidth,
                 "Of the board's memory in GB/s (default: measured here)")
      ->transform(number("from 0.001 to 1e6", [](double x) { return x >= 0.001 && x <= 1e6; }));
  app.add_flag("--all", options->all, "Baselines and ablations too");
  add_threads_option(app, options->threads);
  add_json_option(app, options->json);
  return [options] { return run(*options); };
}

}  // namespace krait::cli
