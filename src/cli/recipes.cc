// krait recipes: what ships, and the formats that recipes can name.
#include <fmt/ranges.h>

#include <algorithm>
#include <memory>

#include "cli/command.h"
#include "cli/output.h"
#include "kernels/formats.h"
#include "quant/recipe_list.h"
#include "report/table.h"

namespace krait::cli {
namespace {

struct Options {
  bool all = false, formats = false, json = false;
};

/// The beginning of a description: a row is one line.
std::string short_text(const std::string& description) {
  return description.substr(0, description.find_first_of(",;:", 32));
}

int run(const Options& options) {
  if (options.formats) {
    write_out(formats_markdown());
    return kSuccess;
  }
  const std::vector<RecipeSummary> recipes = list_recipes();
  if (options.json) {
    Json list = Json::array();
    for (const RecipeSummary& recipe : recipes) {
      list.push_back({{"name", recipe.name},
                      {"folder", recipe.folder},
                      {"bits_per_weight", recipe.bits_per_weight},
                      {"families", recipe.families},
                      {"needs_calibration", recipe.needs_calibration},
                      {"description", recipe.description}});
    }
    print_json({{"recipes", list}});
    return kSuccess;
  }
  Table table({"recipe", "bits/weight", "families", "calibration", "what it does"});
  std::size_t families = 0;
  for (const RecipeSummary& recipe : recipes) families = std::max(families, recipe.families.size());
  for (const RecipeSummary& recipe : recipes) {
    if (!options.all && !recipe.folder.empty()) continue;
    table.add({recipe.name, fmt::format("{:.2f}", recipe.bits_per_weight),
               recipe.families.size() == families
                   ? "all"
                   : fmt::format("{}", fmt::join(recipe.families, ", ")),
               recipe.needs_calibration ? "yes" : "no", short_text(recipe.description)});
  }
  write_out(table.str());
  if (!options.all) write_out("\n--all: published baselines and ablations too\n");
  return kSuccess;
}

}  // namespace

Runner declare_recipes(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  app.add_flag("--all", options->all, "Published baselines and ablations too");
  app.add_flag("--formats", options->formats, "The formats of each kind of site, as Markdown");
  add_json_option(app, options->json);
  return [options] { return run(*options); };
}

}  // namespace krait::cli
