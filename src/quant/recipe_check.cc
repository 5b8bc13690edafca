// fit_recipe: a recipe against the sites of a model and the numerics that have kernels.
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "core/check.h"
#include "core/choices.h"
#include "kernels/hadamard/hadamard.h"
#include "models/registry.h"
#include "quant/recipe.h"
#include "quant/rotate.h"
#include "quant/smooth.h"

namespace krait {
namespace {

using enum ErrorCode;

using Roles = std::vector<std::string>;

bool contains(const Roles& roles, const std::string& role) {
  return std::find(roles.begin(), roles.end(), role) != roles.end();
}

/// The roles of sites, each once, in the order of the forward pass.
template <typename Site, typename Keep>
Roles roles_of(const std::vector<Site>& sites, Keep keep) {
  Roles roles;
  for (const Site& site : sites) {
    if (keep(site) && !contains(roles, site.role)) roles.push_back(site.role);
  }
  return roles;
}
template <typename Site>
Roles roles_of(const std::vector<Site>& sites) {
  return roles_of(sites, [](const Site&) { return true; });
}

/// A rule's key is a role or the name of a product.
template <typename Site>
bool is_called(const Site& site, const std::string& key) {
  return site.role == key || site.name == key;
}

template <typename Site>
const Site& first_of(const std::vector<Site>& sites, const std::string& role) {
  return *std::find_if(sites.begin(), sites.end(),
                       [&](const Site& s) { return is_called(s, role); });
}

std::string describe(const QuantArgs& args, bool activation) {
  std::string text = fmt::format("{} bits, {}", args.bits, args.is_float ? "float" : "int");
  if (args.codes != Codes::integer) text += fmt::format(", {}", name_of(args.codes));
  if (args.is_float) return text;
  text += fmt::format(", {}", name_of(args.strategy));
  if (args.group_size) text += fmt::format(", group_size {}", args.group_size);
  if (activation) text += args.dynamic ? ", dynamic" : ", static";
  if (args.outlier_threshold > 0) text += ", outlier_threshold";
  return text;
}

/// Roles that some architecture has: a rule for one of them is no mistake.
Roles known_roles(const ModelLayout& layout) {
  Roles roles = all_roles();
  const auto add = [&](const Roles& more) { roles.insert(roles.end(), more.begin(), more.end()); };
  add(roles_of(layout.linears));
  add(roles_of(layout.params));
  add(roles_of(layout.activations));
  return roles;
}

/// Leaves out what belongs to roles that are known but not among `present`.
template <typename Rule>
void keep_present(std::map<std::string, Rule>& rules, const Roles& present, const Roles& known) {
  std::erase_if(rules, [&](const auto& rule) {
    return !contains(present, rule.first) && contains(known, rule.first);
  });
}

/// Scales by groups, where all is one group, and by parts, where there are none, are one scale.
void drop_single_groups(Recipe& recipe, const ModelLayout& layout) {
  const RecipeStep* cluster = recipe.find_step("cluster");
  for (auto& [role, rule] : recipe.activations) {
    if (rule.args.strategy != Strategy::group) continue;
    const auto site =
        std::find_if(layout.activations.begin(), layout.activations.end(),
                     [&, wanted = &role](const ActivationSite& s) { return s.role == *wanted; });
    const bool is_clustered = cluster && cluster->args.at("site") == role;
    if (site != layout.activations.end() && site->groups == 1 && site->states == 0 &&
        !is_clustered) {
      rule.args.strategy = Strategy::tensor;
    }
  }
  for (auto& [role, rule] : recipe.weights) {
    const auto has_parts = [wanted = &role](const auto& site) {
      return is_called(site, *wanted) && !site.parts.empty();
    };
    if (rule.by_part && std::none_of(layout.linears.begin(), layout.linears.end(), has_parts) &&
        std::none_of(layout.params.begin(), layout.params.end(), has_parts)) {
      rule.by_part = false;
      rule.args.strategy = Strategy::tensor;
    }
    // A_log of Mamba-2 is a vector, and no rows of 8 make words of it.
    const auto has_no_words = [](const ParamSite& site) {
      return site.role == "A_log" && (site.shape.rank() != 2 || site.shape[1] % 8 != 0);
    };
    if (role == "A_log" && rule.args == QuantArgs{.bits = 4} &&
        std::ranges::any_of(layout.params, has_no_words)) {
      rule.args.bits = 8;
    }
  }
}

Recipe leave_out_absent(const Recipe& recipe, const ModelLayout& layout) {
  Recipe fitted = recipe;
  const Roles known = known_roles(layout);
  Roles weights = roles_of(layout.linears);
  for (const ParamSite& site : layout.params) weights.push_back(site.role);
  const Roles activations = roles_of(layout.activations);
  keep_present(fitted.weights, weights, known);
  keep_present(fitted.activations, activations, known);
  const auto absent = [&](const std::string& role) {
    return !contains(activations, role) && contains(known, role);
  };
  // Scales are shared by the parts of one product's output: the whole list or nothing.
  std::erase_if(fitted.shared_scales,
                [&](const auto& list) { return std::any_of(list.begin(), list.end(), absent); });
  std::erase_if(fitted.steps, [&](const RecipeStep& step) {
    return step.args.contains("site") && absent(step.args.at("site").get<std::string>());
  });
  drop_single_groups(fitted, layout);
  return fitted;
}

/// Words must not straddle rows or groups.
void check_columns(const Recipe& recipe, const ModelLayout& layout, const std::string& role,
                   const QuantArgs& args) {
  for (const LinearSite& site : layout.linears) {
    if (args.codes == Codes::ternary && args.strategy == Strategy::channel) continue;
    const int multiple = has_codes(args) || site.input_site < 0 ? 16 : 8;
    check(!is_called(site, role) || site.cols % multiple == 0, invalid_argument,
          "recipe {}: weights.{} of {} bits need a multiple of {} columns, {} has {}", recipe.name,
          role, args.bits, multiple, site.name, site.cols);
  }
}

bool quantizes(const Recipe& recipe) {
  return !recipe.activations.empty() ||
         std::any_of(recipe.weights.begin(), recipe.weights.end(),
                     [](const auto& rule) { return rule.second.quantized; });
}

void check_weights(const Recipe& recipe, const ModelLayout& layout) {
  const Roles linears = roles_of(layout.linears);
  const Roles params = roles_of(layout.params);
  Roles known = linears;
  known.insert(known.end(), params.begin(), params.end());
  for (const auto& [role, rule] : recipe.weights) {
    const bool is_linear = std::ranges::any_of(
        layout.linears,
        [wanted = &role](const LinearSite& site) { return is_called(site, *wanted); });
    if (!is_linear && !contains(params, role)) {
      fail(invalid_argument, "recipe {}: {} has no weight {}", recipe.name,
           layout.info.architecture, unknown_name(role, known));
    }
    if (!rule.quantized) continue;
    const QuantArgs& args = rule.args;
    const bool by_channel = is_linear || role == "conv1d.weight";
    if (!is_linear && !first_of(layout.params, role).quantizable) {
      const Roles choices =
          roles_of(layout.params, [](const ParamSite& site) { return site.quantizable; });
      fail(invalid_argument,
           "recipe {}: weights.{} cannot be quantized; parameters that can be: {}", recipe.name,
           role, fmt::format("{}", fmt::join(choices, ", ")));
    }
    const bool of_8_bits = args.bits == 8 && args.group_size == 0 &&
                           (args.strategy == Strategy::tensor || rule.by_part ||
                            (args.strategy == Strategy::channel && by_channel));
    const bool has_groups =
        args.strategy == Strategy::group &&
        (args.group_size == 32 || args.group_size == 64 || args.group_size == 128);
    const bool has_rows = args.strategy == Strategy::channel && args.group_size == 0 &&
                          !rule.by_part && has_codes(args);
    const bool of_few_bits =
        args.bits >= 2 && args.bits <= 4 && is_linear && (has_groups || has_rows);
    const bool of_4_bits = args == QuantArgs{.bits = 4} && role == "A_log";
    check(of_8_bits || of_few_bits || of_4_bits, invalid_argument,
          "recipe {}: no kernel reads weights.{} as {}; there are 8 bits, int, tensor{}{}",
          recipe.name, role, describe(args, false), by_channel ? " or channel" : "",
          is_linear ? "; and 2, 3 and 4 bits, int, group, group_size 32, 64 or 128, or, of codes, "
                      "channel"
          : role == "A_log" ? "; and 4 bits, int, tensor"
                            : "");
    if (of_few_bits) check_columns(recipe, layout, role, args);
  }
}

std::set<std::string> inputs_of_products(const ModelLayout& layout) {
  std::set<std::string> inputs;
  for (const LinearSite& linear : layout.linears) {
    if (linear.input_site < 0) continue;
    inputs.insert(layout.activations[static_cast<std::size_t>(linear.input_site)].role);
  }
  return inputs;
}

void check_activations(const Recipe& recipe, const ModelLayout& layout) {
  const Roles known = roles_of(layout.activations);
  const std::set<std::string> inputs = inputs_of_products(layout);
  for (const auto& [role, rule] : recipe.activations) {
    if (!contains(known, role)) {
      fail(invalid_argument, "recipe {}: {} has no activation site {}", recipe.name,
           layout.info.architecture, unknown_name(role, known));
    }
    const QuantArgs& a = rule.args;
    const ActivationSite& site = first_of(layout.activations, role);
    const bool by_group = a.strategy == Strategy::group && site.groups > 0;
    // A step "cluster" changes the order of channels.
    const bool has_channels =
        !inputs.contains(role) && site.states == 0 && !recipe.find_step("cluster");
    const bool by_channel = a.strategy == Strategy::channel && has_channels;
    const bool is_static = !a.dynamic && (a.strategy == Strategy::tensor || by_group || by_channel);
    const bool by_row =
        a.dynamic && a.strategy == Strategy::channel && a.bits == 8 && site.states > 0;
    if (site.is_cache) {
      const bool is_int = a.bits == 8 && !a.is_float && a.dynamic && a.strategy == Strategy::token;
      check(
          (a.is_float && a.bits == 16 && !a.dynamic) || is_int, invalid_argument,
          "recipe {}: no kernel keeps activations.{} as {}; there are 16 bits, float, and 8 bits, "
          "int, token, dynamic",
          recipe.name, role, describe(a, true));
    } else if (site.is_state) {
      const bool is_float16 = a.is_float && a.bits == 16 && !a.dynamic;
      check(
          is_float16 || (!a.is_float && (by_row || (a.bits == 8 && is_static))), invalid_argument,
          "recipe {}: no kernel keeps activations.{} as {}; there are 16 bits, float, and 8 bits, "
          "int, tensor{}",
          recipe.name, role, describe(a, true),
          site.states > 0 ? " or group, static; and 8 bits, int, channel, dynamic"
                          : " or channel, static; a state of Mamba-2 also 8 bits, int, channel, "
                            "dynamic");
    } else {
      const bool is_dynamic =
          a.dynamic && (a.strategy == Strategy::tensor || a.strategy == Strategy::token);
      check(a.bits == 8 && !a.is_float && (is_static || is_dynamic), invalid_argument,
            "recipe {}: no kernel keeps activations.{} as {}; there are 8 bits, int, tensor{}, "
            "static; 8 bits, int, tensor, dynamic; and 8 bits, int, token, dynamic",
            recipe.name, role, describe(a, true),
            site.groups > 0 && has_channels ? ", group or channel"
            : site.groups > 0               ? " or group"
            : has_channels                  ? " or channel"
                                            : "");
    }
  }
}

/// Splitting is for what products of int8 weights read, a token at a time.
void check_outliers(const Recipe& recipe, const ModelLayout& layout) {
  const std::set<std::string> inputs = inputs_of_products(layout);
  std::set<std::string> inputs_of_groups;
  for (const LinearSite& linear : layout.linears) {
    if (linear.input_site < 0) continue;
    const std::string& role = layout.activations[static_cast<std::size_t>(linear.input_site)].role;
    const WeightRule* rule = recipe.find_weight(linear.name, linear.role);
    const bool has_groups = rule && rule->args.strategy == Strategy::group;
    if (has_groups) inputs_of_groups.insert(role);
  }
  for (const auto& [role, rule] : recipe.activations) {
    if (rule.args.outlier_threshold == 0) continue;
    check(rule.args.strategy == Strategy::token && inputs.contains(role), invalid_argument,
          "recipe {}: no kernel keeps activations.{} as {}; an outlier_threshold is for inputs of "
          "products, 8 bits, int, token, dynamic",
          recipe.name, role, describe(rule.args, true));
    check(!inputs_of_groups.contains(role), invalid_argument,
          "recipe {}: activations.{} has an outlier_threshold, which products of weights in groups "
          "do not take",
          recipe.name, role);
  }
}

/// The products of codes need integers on both sides; those of int8 and 4-bit integers take either.
void check_linear_inputs(const Recipe& recipe, const ModelLayout& layout) {
  for (const LinearSite& linear : layout.linears) {
    const WeightRule* rule = recipe.find_weight(linear.name, linear.role);
    if (!rule || !rule->quantized || linear.input_site < 0) continue;
    const QuantArgs& args = rule->args;
    const WeightRule* table = recipe.find_weight(linear.tied_to, "embeddings");
    const bool is_coded_table = !linear.tied_to.empty() && table && table->quantized &&
                                table->args == args && args.bits <= 4;
    if (!has_codes(args) && !is_coded_table) continue;
    const std::string& input = layout.activations[static_cast<std::size_t>(linear.input_site)].role;
    check(recipe.activations.contains(input), invalid_argument,
          "recipe {}: weights.{} are codes but activations.{} is not named: no kernel multiplies "
          "coded weights with float inputs",
          recipe.name, linear.role, input);
  }
}

void check_shared_scales(const Recipe& recipe, const ModelLayout& layout) {
  const Roles known = roles_of(layout.activations);
  std::set<std::string> used;
  for (const auto& list : recipe.shared_scales) {
    for (const std::string& role : list) {
      if (!contains(known, role)) {
        fail(invalid_argument, "recipe {}: shared_scales: {} has no activation site {}",
             recipe.name, layout.info.architecture, unknown_name(role, known));
      }
      const auto rule = recipe.activations.find(role);
      check(rule != recipe.activations.end() && !rule->second.args.is_float &&
                !rule->second.args.dynamic,
            invalid_argument, "recipe {}: shared_scales: {} has no static scale", recipe.name,
            role);
      check(rule->second.args.strategy == Strategy::tensor, invalid_argument,
            "recipe {}: shared_scales: {} has a scale for each of several groups", recipe.name,
            role);
      check(used.insert(role).second, invalid_argument,
            "recipe {}: shared_scales: {} is named twice", recipe.name, role);
    }
  }
}

/// Only channels that belong to heads can be clustered.
void check_cluster_step(const Recipe& recipe, const ModelLayout& layout) {
  const RecipeStep* step = recipe.find_step("cluster");
  if (!step) return;
  const std::string role = step->args.at("site").get<std::string>();
  const Roles choices = roles_of(layout.head_orders);
  if (!contains(choices, role)) {
    fail(invalid_argument, "recipe {}: {} has no heads to cluster at {}", recipe.name,
         layout.info.architecture, unknown_name(role, choices));
  }
}

}  // namespace

std::map<std::string, std::int64_t> rotation_blocks(const Recipe& recipe,
                                                    const ModelLayout& layout) {
  std::map<std::string, std::int64_t> blocks;
  const Roles choices =
      roles_of(layout.activations, [](const ActivationSite& site) { return site.rotatable; });
  for (const RecipeStep& step : recipe.steps) {
    if (step.name != "rotate") continue;
    const std::string role = step.args.at("site").get<std::string>();
    if (!contains(choices, role)) {
      fail(invalid_argument, "recipe {}: {} cannot be rotated at {}", recipe.name,
           layout.info.architecture, unknown_name(role, choices));
    }
    const std::int64_t n = first_of(layout.activations, role).group_channels();
    const Json& wanted = step.args.at("block");
    const std::int64_t block = wanted == "full"           ? n
                               : wanted == "largest"      ? largest_hadamard_block(n)
                               : wanted == "power_of_two" ? (n & -n)
                                                          : wanted.get<std::int64_t>();
    if (n % block != 0 || !hadamard_supported(block)) {
      std::string sizes;
      for (std::int64_t size = 2; size <= n; ++size) {
        if (n % size == 0 && hadamard_supported(size)) sizes += fmt::format(", {}", size);
      }
      fail(invalid_argument,
           "recipe {}: no Hadamard transform of {} has blocks of {} (a supported size that divides "
           "{} "
           "is needed: 1{})",
           recipe.name, role, block, n, sizes);
    }
    if (block > 1) blocks[role] = block;
  }
  const auto block_of = [&](const char* role) { return blocks.contains(role) ? blocks[role] : 1; };
  check(block_of("B") == block_of("C"), invalid_argument,
        "recipe {}: B and C must be rotated alike, got blocks of {} and {}", recipe.name,
        block_of("B"), block_of("C"));
  const auto state = recipe.activations.find("ssm_state");
  const bool static_state = state != recipe.activations.end() && !state->second.args.is_float &&
                            !state->second.args.dynamic;
  check(block_of("B") == 1 || !static_state, invalid_argument,
        "recipe {}: an int8 state with static scales cannot be rotated, B and C rotate it",
        recipe.name);
  return blocks;
}

Recipe fit_recipe(const Recipe& recipe, const ModelLayout& layout) {
  Recipe fitted = leave_out_absent(recipe, layout);
  check(quantizes(fitted) || !quantizes(recipe), invalid_argument,
        "recipe {} is not for {}: nothing that it quantizes is there", recipe.name,
        layout.info.architecture);
  check_weights(fitted, layout);
  check_activations(fitted, layout);
  check_linear_inputs(fitted, layout);
  check_outliers(fitted, layout);
  check_shared_scales(fitted, layout);
  check_cluster_step(fitted, layout);
  rotation_blocks(fitted, layout);
  smoothings_of(fitted, layout);
  return fitted;
}

}  // namespace krait
