#include "quant/mixed_precision.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "core/check.h"
#include "quant/plan.h"

namespace krait {
namespace {

using enum ErrorCode;

std::vector<MixedProduct> products_of(const Recipe& recipe, const ModelLayout& layout) {
  std::vector<MixedProduct> products;
  for (const LinearSite& site : layout.linears) {
    const WeightRule* rule = recipe.find_weight(site.name, site.role);
    if (!rule || !rule->quantized || rule->args.strategy != Strategy::group) continue;
    if (!site.tied_to.empty()) {
      const auto table = std::ranges::find(products, site.tied_to, &MixedProduct::name);
      if (table != products.end()) table->keys.push_back(site.role);
      continue;
    }
    const std::string& key = site.layer < 0 ? site.role : site.name;
    products.push_back({.name = site.name, .role = site.role, .keys = {key}, .rule = *rule});
  }
  check(!products.empty(), invalid_argument, "recipe {} has no weights in groups to choose for",
        recipe.name);
  return products;
}

/// The recipe with weights of these keys alone, rounded to the nearest.
Recipe with_weights(const Recipe& recipe, std::map<std::string, WeightRule> weights) {
  Recipe result = recipe;
  result.weights = std::move(weights);
  result.cluster.reset();
  result.smooth.clear();
  result.calibrate.clear();
  result.round = {.scale = StepChoice::mse};
  return result;
}

/// The recipe for this product alone, in so many bits.
Recipe alone(const Recipe& recipe, const MixedProduct& product, int bits) {
  std::map<std::string, WeightRule> weights;
  for (const std::string& key : product.keys) {
    weights[key] = product.rule;
    weights[key].args.bits = bits;
  }
  return with_weights(recipe, std::move(weights));
}

std::int64_t bytes_of(const Recipe& recipe, const Checkpoint& source) {
  return static_cast<std::int64_t>(
      plan_quantization(recipe, source.config, *source.tensors).output_bytes());
}

std::int64_t source_bytes(const Checkpoint& source, const MixedProduct& product) {
  return static_cast<std::int64_t>(source.tensors->get(product.name + ".weight").bytes());
}

/// What everything but the products takes.
std::int64_t fixed_bytes(const Checkpoint& source, const Recipe& recipe,
                         const std::vector<MixedProduct>& products) {
  Recipe rest = recipe;
  std::int64_t bytes = 0;
  for (const MixedProduct& product : products) {
    for (const std::string& key : product.keys) rest.weights.erase(key);
    rest.weights.erase(product.role);
    bytes -= source_bytes(source, product);
  }
  return bytes + bytes_of(rest, source);
}

Json mixed_recipe(const Recipe& recipe, const std::vector<MixedProduct>& products,
                  const MixOptions& options) {
  Json json = recipe.source;
  json["name"] = options.name.empty() ? recipe.name + "-mixed" : options.name;
  json["description"] = fmt::format(
      "{} with {} bits per weight in the mean: each product has as many as its rounding alone "
      "costs the model least with",
      recipe.name, options.bits);
  for (const MixedProduct& product : products) {
    for (const std::string& key : product.keys) {
      Json mixed =
          recipe.source.at("weights").at(recipe.weights.contains(key) ? key : product.role);
      mixed["bits"] = options.widths[product.chosen];
      json["weights"][key] = std::move(mixed);
    }
  }
  return json;
}

}  // namespace

MixedPrecision mix_precision(const Checkpoint& source, const Recipe& recipe,
                             const MixOptions& options, const LossFn& loss, ThreadPool& threads,
                             const ProgressFn& progress) {
  check(std::ranges::all_of(options.widths, [](int b) { return b >= 2 && b <= 4; }),
        invalid_argument, "widths are among 2, 3 and 4 bits, got {}",
        fmt::join(options.widths, ","));
  const ModelLayout layout = describe_model(source.config, *source.tensors);
  MixedPrecision mixed;
  mixed.products = products_of(recipe, layout);
  const auto parameters = static_cast<double>(layout.info.parameters);
  const std::int64_t fixed = fixed_bytes(source, recipe, mixed.products);
  const auto budget = static_cast<std::int64_t>(options.bits / 8 * parameters) - fixed;

  const Recipe inputs = with_weights(recipe, {});
  const std::int64_t unrounded = bytes_of(inputs, source);
  std::int64_t least = fixed;
  for (MixedProduct& product : mixed.products) {
    const std::int64_t own = source_bytes(source, product);
    for (const int bits : options.widths) {
      product.widths.push_back(
          {own + bytes_of(alone(recipe, product, bits), source) - unrounded, 0});
    }
    least += std::ranges::min_element(product.widths, {}, &Width::bytes)->bytes;
  }
  check(least - fixed <= budget, invalid_argument,
        "{:.2f} bits per weight are too few: with {} bits everywhere {} takes {:.2f}", options.bits,
        *std::ranges::min_element(options.widths), source.directory,
        8 * static_cast<double>(least) / parameters);

  const auto loss_of = [&](const Recipe& wanted) {
    return loss(quantize_to_memory(source.config, *source.tensors, wanted, threads));
  };
  const double floor = loss_of(inputs);
  const auto total = static_cast<std::int64_t>(mixed.products.size() * options.widths.size());
  std::int64_t done = 0;
  for (MixedProduct& product : mixed.products) {
    for (std::size_t w = 0; w < options.widths.size(); ++w) {
      const double own = loss_of(alone(recipe, product, options.widths[w]));
      product.widths[w].loss = std::max(0.0, own - floor);
      if (progress) progress({"measure", ++done, total, "widths"});
    }
  }

  std::vector<std::vector<Width>> widths;
  for (const MixedProduct& product : mixed.products) widths.push_back(product.widths);
  const std::vector<std::size_t> chosen = choose_widths(widths, budget);
  mixed.bytes = fixed;
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    MixedProduct& product = mixed.products[i];
    product.chosen = chosen[i];
    mixed.bytes += product.widths[chosen[i]].bytes;
    mixed.loss += product.widths[chosen[i]].loss;
  }
  mixed.bits_per_weight = 8 * static_cast<double>(mixed.bytes) / parameters;
  mixed.recipe = mixed_recipe(recipe, mixed.products, options);
  return mixed;
}

}  // namespace krait
