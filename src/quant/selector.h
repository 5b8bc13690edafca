// Which rule of a recipe is for which site.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "models/layout.h"

namespace krait {

/// How narrowly a selector chooses.
enum class Reach { everything, module, kind, kind_of_module, role, role_of_module, name };

/// The rule that chooses a site, with its selector, or nullptr.
template <typename Rule>
using Chosen = const std::pair<const std::string, Rule>*;

/// Fails: two selectors choose a site equally well.
[[noreturn]] void refuse_tie(std::string_view recipe, const std::string& site,
                             const std::string& module, const std::string& kind);

/// The narrowest rule for a site. `takes(reach, rule)`: whether the site can be chosen so at all.
/// Errors: invalid_argument if a kind and a module choose it, and nothing narrower.
template <typename Rule, typename Site, typename Takes>
Chosen<Rule> choose_rule(std::string_view recipe, const std::map<std::string, Rule>& rules,
                         const Site& site, Takes takes) {
  const auto find = [&](const std::string& selector, Reach reach) -> Chosen<Rule> {
    const auto rule = rules.find(selector);
    return rule != rules.end() && takes(reach, rule->second) ? &*rule : nullptr;
  };
  if (const auto rule = find(site.name, Reach::name)) return rule;
  if (const auto rule = find(site.module + "." + site.role, Reach::role_of_module)) return rule;
  if (const auto rule = find(site.role, Reach::role)) return rule;
  if (const auto rule = find(site.module + "." + site.kind, Reach::kind_of_module)) return rule;
  const auto by_kind = find(site.kind, Reach::kind);
  const auto by_module = find(site.module, Reach::module);
  if (by_kind && by_module) refuse_tie(recipe, site.name, site.module, site.kind);
  if (by_kind || by_module) return by_kind ? by_kind : by_module;
  return find("*", Reach::everything);
}

/// What selectors of weights, or of activations, can say.
class KnownSelectors {
 public:
  KnownSelectors(const ModelLayout& layout, bool of_weights);
  /// Whether some architecture has it, or the layout a site of that name.
  bool contains(const std::string& selector) const;
  /// Errors: invalid_argument, with the nearest, for the selectors of a section that nothing has.
  template <typename Rules>
  void check(std::string_view recipe, std::string_view section, const Rules& rules) const {
    for (const auto& [selector, rule] : rules) {
      if (!contains(selector)) refuse(recipe, section, selector);
    }
  }

 private:
  [[noreturn]] void refuse(std::string_view recipe, std::string_view section,
                           const std::string& selector) const;
  std::vector<std::string> modules_, kinds_, roles_;  // each once
  std::vector<std::string> all_;                      // with modules before them, and names; sorted
};

}  // namespace krait
