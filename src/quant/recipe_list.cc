#include "quant/recipe_list.h"

#include "krait/error.h"
#include "models/decoder.h"
#include "models/families/families.h"
#include "quant/embedded.h"
#include "quant/plan.h"

namespace krait {

std::vector<RecipeSummary> list_recipes() {
  std::vector<std::pair<std::string, ModelLayout>> layouts;
  for (const Family* family : families()) {
    const Json config = family->shapes.config(family->shapes.names.front());
    layouts.emplace_back(family->model_type, describe_decoder(read_published(*family, config)));
  }
  std::vector<RecipeSummary> summaries;
  for (const EmbeddedRecipe& file : embedded_recipes()) {
    const Recipe recipe = load_recipe(std::string(file.name));
    RecipeSummary& summary = summaries.emplace_back();
    summary.name = file.name;
    summary.folder = file.folder;
    summary.description = recipe.description;
    summary.needs_calibration = recipe.needs_calibration();
    for (const auto& [family, layout] : layouts) {
      std::size_t bytes = 0;
      try {
        bytes = quantized_bytes(recipe, layout);
      } catch (const Error&) {
        continue;  // fit_recipe() says why it is not for this one
      }
      if (summary.families.empty()) {
        summary.bits_per_weight =
            8 * static_cast<double>(bytes) / static_cast<double>(layout.info.parameters);
      }
      summary.families.push_back(family);
    }
  }
  return summaries;
}

}  // namespace krait
