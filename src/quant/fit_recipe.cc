// fit_recipe: a recipe resolved for the sites of a model, and held against the formats that have
// kernels.
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "core/check.h"
#include "core/choices.h"
#include "kernels/hadamard/hadamard.h"
#include "quant/recipe.h"
#include "quant/rotate.h"
#include "quant/selector.h"
#include "quant/smooth.h"

namespace krait {
namespace {

using enum ErrorCode;

using Roles = std::vector<std::string>;

bool contains(const Roles& roles, const std::string& role) {
  return std::ranges::find(roles, role) != roles.end();
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

/// The first site of a role, or of a name.
template <typename Site>
const Site& first_of(const std::vector<Site>& sites, const std::string& key) {
  return *std::ranges::find_if(
      sites, [&](const Site& site) { return site.role == key || site.name == key; });
}

// ---- from selectors to roles

/// One site and the rule that won, or nullptr.
template <typename Rule, typename Site>
struct SiteRule {
  const Site* site;
  Chosen<Rule> chosen;
};

template <typename Rule, typename Site, typename Takes>
std::vector<SiteRule<Rule, Site>> choose_rules(const Recipe& recipe,
                                               const std::map<std::string, Rule>& rules,
                                               const std::vector<Site>& sites, Takes takes) {
  std::vector<SiteRule<Rule, Site>> result;
  for (const Site& site : sites) {
    const auto takes_site = [&](Reach reach, const Rule&) { return takes(site, reach); };
    result.push_back({&site, choose_rule(recipe.name, rules, site, takes_site)});
  }
  return result;
}

template <typename Site>
auto choose_weight_rules(const Recipe& recipe, const std::vector<Site>& sites) {
  return choose_rules(recipe, recipe.weights, sites, [](const Site& site, Reach reach) {
    return site.kind != "norm" || reach > Reach::module;
  });
}

/// Numerics of activations are by role: no site has its own.
template <typename Rule, typename Can>
auto choose_activation_rules(const Recipe& recipe, const std::map<std::string, Rule>& rules,
                             const ModelLayout& layout, Can can) {
  return choose_rules(recipe, rules, layout.activations,
                      [&](const ActivationSite& site, Reach reach) {
                        return reach != Reach::name && (reach >= Reach::role || can(site));
                      });
}

bool any_site(const ActivationSite&) { return true; }
bool can_rotate(const ActivationSite& site) { return site.rotatable; }
bool has_norm(const ActivationSite& site) { return !site.norm.empty(); }

/// By role where all sites of a role have one rule, else by name.
template <typename Site>
void resolve_weights(const Recipe& recipe, const std::vector<Site>& sites, Recipe& fitted) {
  const auto chosen = choose_weight_rules(recipe, sites);
  std::map<std::string, const WeightRule*> of_role;
  std::set<std::string> by_name;  // roles whose sites differ
  const auto has_own_name = [](const auto& c) {
    return c.chosen && c.chosen->first == c.site->name && c.site->name != c.site->role;
  };
  for (const auto& c : chosen) {
    if (has_own_name(c)) continue;
    const WeightRule* rule = c.chosen ? &c.chosen->second : nullptr;
    const auto [first, is_new] = of_role.emplace(c.site->role, rule);
    const WeightRule* other = first->second;
    if (!is_new && (!rule != !other || (rule && !(*rule == *other)))) by_name.insert(c.site->role);
  }
  for (const auto& [role, rule] : of_role) {
    const bool is_kept = rule && (rule->quantized || rule->dtype) && !by_name.contains(role);
    if (is_kept) fitted.weights[role] = *rule;
  }
  for (const auto& c : chosen) {
    if (!c.chosen || (!has_own_name(c) && !by_name.contains(c.site->role))) continue;
    const WeightRule& rule = c.chosen->second;
    const bool says_something =
        rule.quantized || rule.dtype || fitted.weights.contains(c.site->role);
    if (says_something) fitted.weights[c.site->name] = rule;
  }
}

template <typename Rule, typename Can>
std::map<std::string, Rule> resolve_activations(const Recipe& recipe,
                                                const std::map<std::string, Rule>& rules,
                                                const ModelLayout& layout, Can can) {
  std::map<std::string, Chosen<Rule>> of_role;
  for (const auto& [site, chosen] : choose_activation_rules(recipe, rules, layout, can)) {
    const auto [first, is_new] = of_role.emplace(site->role, chosen);
    check(is_new || first->second == chosen, invalid_argument,
          "recipe {}: {} has one rule in all modules, but \"{}\" and \"{}\" choose it", recipe.name,
          site->role, first->second ? first->second->first : "nothing",
          chosen ? chosen->first : "nothing");
  }
  std::map<std::string, Rule> result;
  for (const auto& [role, chosen] : of_role) {
    if (chosen) result.emplace(role, chosen->second);
  }
  return result;
}

/// Scales by groups, where all is one group, and by parts, where there are none, are one scale.
void drop_single_groups(Recipe& recipe, const ModelLayout& layout) {
  for (auto& [role, rule] : recipe.activations) {
    if (rule.args.strategy != Strategy::group) continue;
    const ActivationSite& site = first_of(layout.activations, role);
    const bool is_clustered = recipe.cluster && recipe.cluster->site == role;
    if (site.groups == 1 && site.states == 0 && !is_clustered) {
      rule.args.strategy = Strategy::tensor;
    }
  }
  for (auto& [key, rule] : recipe.weights) {
    const auto has_parts = [&, wanted = &key](const auto& site) {
      return (site.role == *wanted || site.name == *wanted) && !site.parts.empty();
    };
    if (rule.by_part && std::ranges::none_of(layout.linears, has_parts) &&
        std::ranges::none_of(layout.params, has_parts)) {
      rule.by_part = false;
      rule.args.strategy = Strategy::tensor;
    }
  }
}

Recipe resolve(const Recipe& recipe, const ModelLayout& layout) {
  const KnownSelectors weights(layout, true), activations(layout, false);
  weights.check(recipe.name, "weights", recipe.weights);
  activations.check(recipe.name, "activations", recipe.activations);
  activations.check(recipe.name, "rotate", recipe.rotate);
  activations.check(recipe.name, "smooth", recipe.smooth);

  Recipe fitted{.name = recipe.name,
                .description = recipe.description,
                .reference = recipe.reference,
                .calibrate = recipe.calibrate,
                .round = recipe.round};
  resolve_weights(recipe, layout.linears, fitted);
  resolve_weights(recipe, layout.params, fitted);
  fitted.activations = resolve_activations(recipe, recipe.activations, layout, any_site);
  std::erase_if(fitted.activations, [](const auto& rule) { return !rule.second.quantized; });
  fitted.rotate = resolve_activations(recipe, recipe.rotate, layout, can_rotate);
  std::erase_if(fitted.rotate, [](const auto& block) { return block.second == "none"; });
  fitted.smooth = resolve_activations(recipe, recipe.smooth, layout, has_norm);
  std::erase_if(fitted.smooth, [](const auto& alpha) { return !alpha.second; });

  // What only other architectures have is void. Scales are shared by the parts of one product's
  // output: the whole list or nothing.
  const Roles here = roles_of(layout.activations);
  const auto is_absent = [&](const std::string& role) {
    return !contains(here, role) && activations.contains(role);
  };
  for (const Roles& list : recipe.shared_scales) {
    if (std::ranges::none_of(list, is_absent)) fitted.shared_scales.push_back(list);
  }
  if (recipe.cluster && !is_absent(recipe.cluster->site)) fitted.cluster = recipe.cluster;
  drop_single_groups(fitted, layout);
  return fitted;
}

// ---- against what kernels can do

bool has_integer_weights(const Recipe& recipe) {
  return std::ranges::any_of(recipe.weights,
                             [](const auto& rule) { return rule.second.quantized; });
}

bool quantizes(const Recipe& recipe) {
  return has_integer_weights(recipe) ||
         std::ranges::any_of(recipe.activations,
                             [](const auto& rule) { return rule.second.quantized; });
}

template <typename Site>
void check_weights(const Recipe& recipe, const std::vector<Site>& sites) {
  for (const Site& site : sites) {
    const WeightRule* rule = recipe.find_weight(site.name, site.role);
    if (!rule || !rule->quantized) continue;
    const std::string format = format_name(rule->args, rule->by_part);
    const std::string refusal = format_refusal(format_site(site), format, Format::Where::recipe);
    check(refusal.empty(), invalid_argument, "recipe {}: weights.{} cannot be {} ({}): {}",
          recipe.name, recipe.weights.contains(site.name) ? site.name : site.role, format,
          site.name, refusal);
  }
}

void check_activations(const Recipe& recipe, const ModelLayout& layout) {
  for (const auto& [role, rule] : recipe.activations) {
    const ActivationSite& site = first_of(layout.activations, role);
    const std::string format = format_name(rule.args);
    const std::string refusal = format_refusal(format_site(site), format, Format::Where::recipe);
    check(refusal.empty(), invalid_argument, "recipe {}: activations.{} cannot be {}: {}",
          recipe.name, role, format, refusal);
    check(!recipe.cluster || rule.args.dynamic || rule.args.strategy != Strategy::channel,
          invalid_argument,
          "recipe {}: activations.{} cannot be {}: the step \"cluster\" changes the order of "
          "channels",
          recipe.name, role, format);
  }
}

const std::string& input_role(const ModelLayout& layout, const LinearSite& linear) {
  return layout.activations[static_cast<std::size_t>(linear.input_site)].role;
}

/// The products of codes need integers on both sides; those of int8 and 4-bit integers take either.
/// Splitting off outliers is for products of int8 weights.
void check_linear_inputs(const Recipe& recipe, const ModelLayout& layout) {
  for (const LinearSite& linear : layout.linears) {
    const WeightRule* rule = recipe.find_weight(linear.name, linear.role);
    if (!rule || !rule->quantized || linear.input_site < 0) continue;
    const QuantArgs& args = rule->args;
    const std::string& role = input_role(layout, linear);
    const auto input = recipe.activations.find(role);
    if (input != recipe.activations.end()) {
      check(input->second.args.outlier_threshold == 0 || args.strategy != Strategy::group,
            invalid_argument,
            "recipe {}: activations.{} has an outlier_threshold, which products of weights in "
            "groups do not take",
            recipe.name, role);
      continue;
    }
    const LinearSite* owner = nullptr;
    for (const LinearSite& other : layout.linears) {
      if (!linear.tied_to.empty() && other.name == linear.tied_to) owner = &other;
    }
    const WeightRule* table = owner ? recipe.find_weight(owner->name, owner->role) : nullptr;
    const bool is_coded_table = table && table->quantized && table->args == args && args.bits <= 4;
    check(!has_codes(args) && !is_coded_table, invalid_argument,
          "recipe {}: weights.{} are codes but activations.{} is not named: no kernel multiplies "
          "coded weights with float inputs",
          recipe.name, linear.role, role);
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
      check(rule != recipe.activations.end() && rule->second.is_static(), invalid_argument,
            "recipe {}: shared_scales: {} has no static scale", recipe.name, role);
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
  if (!recipe.cluster) return;
  const Roles choices = roles_of(layout.head_orders);
  if (!contains(choices, recipe.cluster->site)) {
    fail(invalid_argument, "recipe {}: {} has no heads to cluster at {}", recipe.name,
         layout.info.architecture, unknown_name(recipe.cluster->site, choices));
  }
}

}  // namespace

std::map<std::string, std::int64_t> rotation_blocks(const Recipe& recipe,
                                                    const ModelLayout& layout) {
  std::map<std::string, std::int64_t> blocks;
  std::map<std::string, ActivationNumerics> numerics;
  for (const auto& [role, rule] : recipe.activations) {
    numerics[role] = {.quantized = true, .args = rule.args};
  }
  const Roles choices = roles_of(layout.activations, can_rotate);
  for (const auto& [role, wanted] : recipe.rotate) {
    if (!contains(choices, role)) {
      fail(invalid_argument, "recipe {}: {} cannot be rotated at {}", recipe.name,
           layout.info.architecture, unknown_name(role, choices));
    }
    const std::int64_t n = first_of(layout.activations, role).group_channels();
    const std::int64_t block = wanted == "full"           ? n
                               : wanted == "largest"      ? largest_hadamard_block(n)
                               : wanted == "power_of_two" ? (n & -n)
                                                          : std::stoll(wanted);
    if (n % block != 0 || !hadamard_supported(block)) {
      std::string sizes;
      for (std::int64_t size = 2; size <= n; ++size) {
        if (n % size == 0 && hadamard_supported(size)) sizes += fmt::format(", {}", size);
      }
      fail(invalid_argument,
           "recipe {}: no Hadamard transform of {} has blocks of {} (a supported size that divides "
           "{} is needed: 1{})",
           recipe.name, role, block, n, sizes);
    }
    if (block > 1) blocks[role] = numerics[role].hadamard_block = block;
  }
  const std::string conflict = rotation_conflict(layout, numerics);
  check(conflict.empty(), invalid_argument, "recipe {}: {}", recipe.name, conflict);
  return blocks;
}

Recipe fit_recipe(const Recipe& recipe, const ModelLayout& layout) {
  Recipe fitted = resolve(recipe, layout);
  check(quantizes(fitted) || !quantizes(recipe), invalid_argument,
        "recipe {} is not for {}: nothing that it quantizes is there", recipe.name,
        layout.info.architecture);
  check_weights(fitted, layout.linears);
  check_weights(fitted, layout.params);
  check_activations(fitted, layout);
  check_linear_inputs(fitted, layout);
  check_shared_scales(fitted, layout);
  check_cluster_step(fitted, layout);
  rotation_blocks(fitted, layout);
  smoothings_of(fitted, layout);
  if (!has_integer_weights(fitted)) fitted.round.reset();
  if (!fitted.needs_calibration()) fitted.calibrate.clear();
  fitted.source = recipe_by_role(fitted);
  return fitted;
}

std::vector<RuleReport> explain_recipe(const Recipe& recipe, const ModelLayout& layout) {
  const Recipe fitted = fit_recipe(recipe, layout);
  const auto blocks = rotation_blocks(fitted, layout);
  std::vector<RuleReport> reports;
  const auto add = [&](RuleReport report) {
    for (RuleReport& known : reports) {
      report.sites = known.sites;
      if (!(known == report)) continue;
      ++known.sites;
      return;
    }
    report.sites = 1;
    reports.push_back(std::move(report));
  };
  const auto add_weights = [&](const auto& sites) {
    for (const auto& [site, chosen] : choose_weight_rules(recipe, sites)) {
      const WeightRule* rule = fitted.find_weight(site->name, site->role);
      const bool has_own = fitted.weights.contains(site->name);
      add({.section = "weights",
           .role = has_own ? site->name : site->role,
           .kind = site->kind,
           .selector = chosen ? chosen->first : "",
           .format = !rule             ? "float"
                     : rule->quantized ? format_name(rule->args, rule->by_part)
                     : rule->dtype     ? std::string(format_name(*rule->dtype))
                                       : "float"});
    }
  };
  add_weights(layout.linears);
  add_weights(layout.params);
  for (const auto& [site, chosen] :
       choose_activation_rules(recipe, recipe.activations, layout, any_site)) {
    const auto rule = fitted.activations.find(site->role);
    const auto block = blocks.find(site->role);
    add({.section = "activations",
         .role = site->role,
         .kind = site->kind,
         .selector = chosen ? chosen->first : "",
         .format = rule == fitted.activations.end() ? "float" : format_name(rule->second.args),
         .block = block == blocks.end() ? 0 : block->second});
  }
  return reports;
}

}  // namespace krait
