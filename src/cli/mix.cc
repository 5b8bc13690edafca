// krait mix: how many bits each product gets, by what its rounding costs, under a budget.
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/table.h"
#include "core/check.h"
#include "eval/kept_reference.h"
#include "io/checkpoint.h"
#include "io/file.h"
#include "kernels/microkernels.h"
#include "quant/calibration_data.h"
#include "quant/choose_widths.h"
#include "quant/generate_samples.h"
#include "quant/quantize_to_memory.h"
#include "runtime/engine_impl.h"

namespace krait::cli {
namespace {

using enum ErrorCode;

/// Of the float model's logits, to be kept: all of the default for vocabularies up to 32,000.
constexpr std::size_t kReferenceBytes = std::size_t{1} << 30;

struct Options {
  std::string model, output, recipe = "krait-w3a8", name;
  std::vector<int> widths{2, 3, 4};
  double bits = 3.5;
  int samples = 16, seq_len = 512, threads = 0;
  std::uint64_t seed = 1234;
  bool json = false;
};

/// Weights that get one width together: a product of a layer (of each expert by itself), or the
/// table and the head that is tied to it.
struct Unit {
  std::vector<std::string> keys;  // of the recipe's weights
  std::string name;               // of the tensor, without ".weight"
  std::string role;
  WeightRule rule;
  std::vector<Width> widths;  // as Options::widths
};

std::vector<Unit> units_of(const Recipe& recipe, const ModelLayout& layout) {
  std::vector<Unit> units;
  const auto rule_of = [&](const LinearSite& site) -> const WeightRule* {
    const WeightRule* rule = recipe.find_weight(site.name, site.role);
    return rule && rule->quantized && rule->args.strategy == Strategy::group ? rule : nullptr;
  };
  for (const LinearSite& site : layout.linears) {
    const WeightRule* rule = rule_of(site);
    if (!rule) continue;
    if (!site.tied_to.empty()) {
      const auto table =
          std::ranges::find_if(units, [&](const Unit& unit) { return unit.name == site.tied_to; });
      if (table == units.end()) continue;
      table->keys.push_back(site.role);
      continue;
    }
    const std::string key = site.layer < 0 ? site.role : site.name;
    units.push_back({{key}, site.name, site.role, *rule, {}});
  }
  return units;
}

/// The recipe with weights of this unit alone, of so many bits, rounded to the nearest.
Recipe alone(const Recipe& recipe, const Unit& unit, int bits) {
  Recipe result = recipe;
  result.weights.clear();
  for (const std::string& key : unit.keys) {
    result.weights[key] = unit.rule;
    result.weights[key].args.bits = bits;
  }
  result.cluster.reset();
  result.smooth.clear();
  result.calibrate.clear();
  result.round = {.scale = StepChoice::mse};
  return result;
}

std::int64_t bytes_of(const Recipe& recipe, const Checkpoint& source) {
  return static_cast<std::int64_t>(
      plan_quantization(recipe, source.config, *source.tensors).output_bytes());
}

Engine engine_of(const Json& config, std::shared_ptr<const TensorSource> tensors, int threads) {
  return make_engine({.config = config,
                      .generation_config = {},
                      .tensors = std::move(tensors),
                      .tokenizer = std::nullopt},
                     {.threads = threads});
}

std::int64_t source_bytes(const Checkpoint& source, const Unit& unit) {
  return static_cast<std::int64_t>(source.tensors->get(unit.name + ".weight").bytes());
}

/// One text of all samples, each of which is a window of its own.
std::vector<std::int32_t> generated_text(const Checkpoint& source, const Options& options,
                                         ThreadPool& threads, const ProgressFn& progress) {
  Arena arena;
  Context ctx{threads, microkernels(select_isa()), arena};
  const auto model = load_model(ctx, source.config, *source.tensors);
  const CalibrationData data =
      generate_samples(ctx, *model, document_token(source.config, model->info().vocab_rows),
                       options.samples, options.seq_len, options.seed, progress);
  std::vector<std::int32_t> ids;
  for (const auto& sample : data.samples) ids.insert(ids.end(), sample.begin(), sample.end());
  return ids;
}

/// KL divergence of each width of each unit from the float model, less that of the inputs'
/// rounding.
void measure(const Checkpoint& source, const Recipe& recipe, const Options& options,
             std::vector<Unit>& units, ThreadPool& threads, ProgressReport& report) {
  const auto update = [&](const Progress& progress) {
    throw_if_interrupted();
    report.update(progress);
  };
  const std::vector<std::int32_t> ids = generated_text(source, options, threads, update);
  const Engine original = engine_of(source.config, source.tensors, options.threads);
  const KeptReference reference(original, ids, options.seq_len, kReferenceBytes);
  const auto divergence = [&](const Recipe& wanted) {
    const QuantizedModel made = quantize_to_memory(source.config, *source.tensors, wanted, threads);
    return reference.divergence_of(engine_of(made.config, made.tensors, options.threads));
  };
  Recipe inputs = alone(recipe, units.front(), 8);
  inputs.weights.clear();
  const double floor = divergence(inputs);
  const std::int64_t bytes = bytes_of(inputs, source);
  const auto total = static_cast<std::int64_t>(units.size() * options.widths.size());
  std::int64_t done = 0;
  for (Unit& unit : units) {
    for (const int bits : options.widths) {
      const Recipe only = alone(recipe, unit, bits);
      const std::int64_t size = source_bytes(source, unit) + bytes_of(only, source) - bytes;
      unit.widths.push_back({size, std::max(0.0, divergence(only) - floor)});
      update({"measure", ++done, total, "widths"});
    }
  }
}

/// What everything but the units takes.
std::int64_t fixed_bytes(const Checkpoint& source, const Recipe& recipe,
                         const std::vector<Unit>& units) {
  Recipe rest = recipe;
  std::int64_t bytes = 0;
  for (const Unit& unit : units) {
    for (const std::string& key : unit.keys) rest.weights.erase(key);
    rest.weights.erase(unit.role);
    bytes -= source_bytes(source, unit);
  }
  return bytes + bytes_of(rest, source);
}

Json mixed_recipe(const Recipe& recipe, const std::vector<Unit>& units,
                  const std::vector<std::size_t>& chosen, const Options& options) {
  Json json = recipe.source;
  json["name"] = options.name.empty() ? recipe.name + "-mixed" : options.name;
  json["description"] = fmt::format(
      "{} with {} bits per weight in the mean: each product has as many as its rounding alone "
      "costs the model least with",
      recipe.name, options.bits);
  for (std::size_t i = 0; i < units.size(); ++i) {
    for (const std::string& key : units[i].keys) {
      Json mixed =
          recipe.source.at("weights").at(recipe.weights.contains(key) ? key : units[i].role);
      mixed["bits"] = options.widths[chosen[i]];
      json["weights"][key] = std::move(mixed);
    }
  }
  return json;
}

int run(const Options& options) {
  const std::string directory = resolve_model(options.model);
  check(std::ranges::all_of(options.widths, [](int b) { return b >= 2 && b <= 4; }),
        invalid_argument, "--widths are among 2, 3 and 4, got {}", fmt::join(options.widths, ","));
  catch_interrupts();
  const Checkpoint source = open_checkpoint(directory);
  const ModelLayout layout = describe_model(source.config, *source.tensors);
  const Recipe recipe = fit_recipe(load_recipe(options.recipe), layout);
  std::vector<Unit> units = units_of(recipe, layout);
  check(!units.empty(), invalid_argument, "recipe {} has no weights in groups to choose for",
        recipe.name);
  const auto parameters = static_cast<double>(layout.info.parameters);
  const std::int64_t fixed = fixed_bytes(source, recipe, units);
  const auto budget = static_cast<std::int64_t>(options.bits / 8 * parameters) - fixed;

  ThreadPool threads(options.threads > 0 ? options.threads : hardware_threads());
  ProgressReport report;
  measure(source, recipe, options, units, threads, report);
  report.finish();
  std::vector<std::vector<Width>> widths;
  std::int64_t least = fixed;
  for (const Unit& unit : units) {
    widths.push_back(unit.widths);
    least += std::ranges::min_element(unit.widths, {}, &Width::bytes)->bytes;
  }
  const std::vector<std::size_t> chosen = choose_widths(widths, budget);
  check(!chosen.empty(), invalid_argument,
        "{:.2f} bits per weight are too few: with {} bits everywhere {} takes {:.2f}", options.bits,
        *std::ranges::min_element(options.widths), directory,
        8 * static_cast<double>(least) / parameters);

  std::int64_t bytes = fixed;
  double loss = 0;
  Table table({"weights", "bits", "bytes", "mean KL alone"});
  for (std::size_t i = 0; i < units.size(); ++i) {
    const Width& width = units[i].widths[chosen[i]];
    bytes += width.bytes;
    loss += width.loss;
    table.add({units[i].name, std::to_string(options.widths[chosen[i]]),
               fmt::format("{}", width.bytes), fmt::format("{:.6f}", width.loss)});
  }
  const Json mixed = mixed_recipe(recipe, units, chosen, options);
  write_file_atomic(options.output, format_json(mixed));
  const double bits = 8 * static_cast<double>(bytes) / parameters;
  if (options.json) {
    Json products = Json::array();
    for (std::size_t i = 0; i < units.size(); ++i) {
      Json entry = {{"name", units[i].name}, {"bits", options.widths[chosen[i]]}};
      for (std::size_t w = 0; w < options.widths.size(); ++w) {
        entry["widths"].push_back({{"bits", options.widths[w]},
                                   {"bytes", units[i].widths[w].bytes},
                                   {"kl", units[i].widths[w].loss}});
      }
      products.push_back(std::move(entry));
    }
    print_json({{"recipe", mixed.at("name")},
                {"bytes", bytes},
                {"bits_per_weight", bits},
                {"kl_sum", loss},
                {"products", products}});
    return kSuccess;
  }
  print("{}\n{:.3f} bits per weight; the sum of the divergences is {:.6f}\nwrote {}\n", table.str(),
        bits, loss, options.output);
  return kSuccess;
}

}  // namespace

Runner declare_mix(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  add_model_argument(app, options->model);
  app.add_option("-o,--output", options->output, "Recipe to write")->required()->type_name("FILE");
  app.add_option("--recipe", options->recipe,
                 "Recipe whose weights in groups get other bits, and which tells all else")
      ->type_name("NAME")
      ->capture_default_str();
  app.add_option("--bits", options->bits, "Bits per weight at most, all weights counted")
      ->capture_default_str();
  app.add_option("--widths", options->widths, "Bits to choose from")
      ->delimiter(',')
      ->type_name("N")
      ->capture_default_str();
  app.add_option("--name", options->name, "Of the new recipe (default: the old one's and -mixed)")
      ->type_name("NAME");
  app.add_option("--samples", options->samples, "Texts that the model writes to measure on")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app.add_option("--seq-len", options->seq_len, "Tokens of each")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app.add_option("--seed", options->seed, "Of those texts")->capture_default_str();
  add_threads_option(app, options->threads);
  add_json_option(app, options->json);
  return [options] { return run(*options); };
}

}  // namespace krait::cli
