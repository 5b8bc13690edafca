#include "report/fits.h"

#include <fmt/format.h>

#include "core/check.h"
#include "quant/recipe.h"
#include "report/units.h"

namespace krait {
namespace {

std::string bytes_text(std::size_t bytes) { return format_bytes(static_cast<double>(bytes)); }

}  // namespace

void Fits::add(const Json& config, const TensorSource& tensors,
               const std::vector<std::string>& recipes) {
  rows.push_back(footprint_of_float(config, tensors));
  for (const std::string& name : recipes) {
    try {
      rows.push_back(footprint_of(load_recipe(name), config, tensors));
    } catch (const Error& error) {
      unfit.emplace_back(name, error.what());
    }
  }
}

const Footprint* Fits::best() const {
  const Footprint* best = nullptr;
  for (const Footprint& row : rows) {
    if (fits(row) && (!best || row.weights > best->weights)) best = &row;
  }
  return best;
}

Table fits_table(const Fits& fits) {
  std::vector<std::string> header = {"recipe",      "bits/weight",       "weights",
                                     "state",       "cache/1000 tokens", "to run",
                                     "to quantize", "ms/token"};
  if (fits.memory > 0) header.emplace_back("fits");
  Table table(header);
  for (const Footprint& row : fits.rows) {
    std::vector<std::string> cells = {row.recipe,
                                      fmt::format("{:.2f}", row.bits_per_weight),
                                      bytes_text(row.weights),
                                      bytes_text(row.state),
                                      bytes_text(1000 * row.cache_per_token),
                                      bytes_text(row.running),
                                      row.quantizing > 0 ? bytes_text(row.quantizing) : "-",
                                      format_rate(1e3 * row.decode_seconds(fits.bandwidth))};
    if (fits.memory > 0) cells.emplace_back(fits.fits(row) ? "yes" : "no");
    table.add(cells);
  }
  return table;
}

Json to_json(const Fits& fits) {
  Json rows = Json::array(), unfit = Json::array();
  for (const Footprint& row : fits.rows) {
    Json json = to_json(row);
    json["ms_per_token"] = 1e3 * row.decode_seconds(fits.bandwidth);
    if (fits.memory > 0) json["fits"] = fits.fits(row);
    rows.push_back(std::move(json));
  }
  for (const auto& [recipe, why] : fits.unfit) {
    unfit.push_back({{"recipe", recipe}, {"message", why}});
  }
  Json json = {
      {"read_bandwidth", fits.bandwidth}, {"recipes", rows}, {"not_for_this_model", unfit}};
  if (fits.memory > 0) {
    json["memory"] = fits.memory;
    json["best"] = fits.best() ? Json(fits.best()->recipe) : Json();
  }
  return json;
}

}  // namespace krait
