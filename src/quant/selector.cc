#include "quant/selector.h"

#include <algorithm>

#include "core/check.h"
#include "core/choices.h"
#include "models/families/families.h"

namespace krait {
namespace {

using enum ErrorCode;

void add_once(std::vector<std::string>& to, const std::string& word) {
  if (std::ranges::find(to, word) == to.end()) to.push_back(word);
}

}  // namespace

void refuse_tie(std::string_view recipe, const std::string& site, const std::string& module,
                const std::string& kind) {
  fail(invalid_argument,
       "recipe {}: \"{}\" and \"{}\" both choose {}, and neither is narrower: write \"{}.{}\"",
       recipe, module, kind, site, module, kind);
}

KnownSelectors::KnownSelectors(const ModelLayout& layout, bool of_weights) {
  const auto add = [&](const auto& known) {
    if (is_weight_kind(known.kind) != of_weights) return;
    add_once(modules_, known.module);
    add_once(kinds_, known.kind);
    add_once(roles_, known.role);
    for (const std::string& word : {known.kind, known.role}) {
      all_.push_back(word);
      all_.push_back(known.module + "." + word);
    }
    all_.push_back(known.module);
  };
  const auto add_sites = [&](const auto& sites) {
    for (const auto& site : sites) {
      add(site);
      if (of_weights) all_.push_back(site.name);
    }
  };
  for (const KnownRole& role : known_roles()) add(role);
  if (of_weights) {
    add_sites(layout.linears);
    add_sites(layout.params);
  } else {
    add_sites(layout.activations);
  }
  all_.push_back("*");
  std::ranges::sort(all_);
}

bool KnownSelectors::contains(const std::string& selector) const {
  return std::ranges::binary_search(all_, selector);
}

void KnownSelectors::refuse(std::string_view recipe, std::string_view section,
                            const std::string& selector) const {
  std::vector<std::string> known = kinds_;
  known.insert(known.end(), modules_.begin(), modules_.end());
  known.insert(known.end(), roles_.begin(), roles_.end());
  std::string word = selector;
  for (const std::string& module : modules_) {
    if (selector.starts_with(module + ".")) word = selector.substr(module.size() + 1);
  }
  fail(invalid_argument, "recipe {}: {}: no model has a kind, module or role {}", recipe, section,
       unknown_name(word, known));
}

}  // namespace krait
