#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
#include <map>

#include "io/file.h"
#include "report/by_model.h"
#include "report/measures.h"
#include "report/plot.h"
#include "report/sweep_file.h"

namespace krait {
namespace {

using ValueFn = std::function<double(const Json& result)>;

double at_first_text(const Json& result, const std::string& pointer) {
  return number_at(first_text(result), pointer);
}

/// A series for each method that has several widths, such as "krait" of "krait-w4a8", and one for
/// what is left: a point for each recipe that has both values.
std::vector<Series> series_of(const std::vector<ReportRow>& rows, const ValueFn& x,
                              const ValueFn& y, bool log_y) {
  std::map<std::string, Series> by_method;
  for (const ReportRow& row : rows) {
    const double across = x(row.result), up = y(row.result);
    if (std::isnan(across) || std::isnan(up) || across <= 0 || (log_y && up <= 0)) continue;
    Series& series = by_method[row.recipe.substr(0, row.recipe.find("-w"))];
    series.points.push_back({.x = across, .y = up, .label = row.recipe});
  }
  std::vector<Series> all;
  Series others{"others", {}};
  for (auto& [method, series] : by_method) {
    if (series.points.size() == 1) {
      others.points.push_back(std::move(series.points[0]));
    } else {
      all.push_back({method, std::move(series.points), true});
    }
  }
  if (!others.points.empty()) all.push_back(std::move(others));
  return all;
}

struct Axis {
  const char* name;
  const char* label;
  bool is_log;
  ValueFn value;
};

/// Every measure of quality over every measure of cost, of each model.
void add_scatters(const ReportModels& models, std::vector<Picture>& pictures) {
  const Axis costs[] = {
      {"bits", "bits per weight, all tensors counted", false,
       [](const Json& r) { return number_at(r, "/bits_per_weight"); }},
      {"bytes", "MB of tensors", false, [](const Json& r) { return number_at(r, "/bytes") / 1e6; }},
      {"speed", "tokens per second, decoding", false,
       [](const Json& r) { return number_at(r, "/speed/decode"); }}};
  const Axis qualities[] = {{"kl", "mean KL to the original, nats per token", true,
                             [](const Json& r) { return at_first_text(r, "/kl_mean"); }},
                            {"nll", "nll difference to the original, nats per token", false,
                             [](const Json& r) { return at_first_text(r, "/nll_difference"); }},
                            {"text", "nll per token, nats", false,
                             [](const Json& r) { return at_first_text(r, "/model/nll"); }},
                            {"accuracy", "mean accuracy of the tasks", false, mean_accuracy}};
  for (const Axis& quality : qualities) {
    for (const Axis& cost : costs) {
      for (const auto& [model, rows] : models) {
        const std::vector<Series> series =
            series_of(rows, cost.value, quality.value, quality.is_log);
        if (series.empty()) continue;
        const std::string title = fmt::format("{}: {} over {}", model, quality.label, cost.label);
        pictures.push_back({fmt::format("{}-{}-{}", quality.name, cost.name, model), title,
                            plot_svg({title, cost.label, quality.label}, series,
                                     {.log_x = cost.is_log, .log_y = quality.is_log})});
      }
    }
  }
}

/// KL over the position, of each model with all its recipes.
void add_drifts(const ReportModels& models, std::vector<Picture>& pictures) {
  for (const auto& [model, rows] : models) {
    std::vector<Series> series;
    for (const ReportRow& row : rows) {
      Series line{row.recipe, {}, true};
      const Json::json_pointer place("/drift/positions");
      if (!row.result.contains(place)) continue;
      for (const Json& bin : row.result.at(place)) {
        const double mean = number_at(bin, "/kl/mean");
        const double half = kQuantile95 * number_at(bin, "/kl/stderr");
        if (!(mean > 0)) continue;
        line.points.push_back({.x = std::sqrt(number_at(bin, "/begin") * number_at(bin, "/end")),
                               .y = mean,
                               .low = mean - half,
                               .high = mean + half});
      }
      if (!line.points.empty()) series.push_back(std::move(line));
    }
    if (series.empty()) continue;
    const std::string title = model + ": divergence by position";
    pictures.push_back({"drift-" + model, title,
                        plot_svg({title, "tokens read", "mean KL, nats per token"}, series,
                                 {.log_x = true, .log_y = true})});
  }
}

/// Errors by role and layer, first of the activations, then of the products.
void add_heat_maps(const ReportModels& models, std::vector<Picture>& pictures) {
  for (const auto& [model, rows] : models) {
    for (const ReportRow& row : rows) {
      std::vector<RoleValues> roles = role_values(row.result, "sites", "/error");
      for (RoleValues& product : role_values(row.result, "products", "/error")) {
        product.role = "product " + product.role;
        roles.push_back(std::move(product));
      }
      if (roles.empty()) continue;
      int last = 0;
      for (const RoleValues& role : roles) last = std::max(last, role.by_layer.rbegin()->first);
      std::vector<std::string> names, columns;
      std::vector<double> values;
      for (int layer = 0; layer <= last; ++layer) columns.push_back(std::to_string(layer));
      for (const RoleValues& role : roles) {
        names.push_back(role.role);
        for (int layer = 0; layer <= last; ++layer) {
          // What is outside the layers comes after the last of them.
          const auto found =
              role.by_layer.find(role.by_layer.contains(-1) && layer == last ? -1 : layer);
          values.push_back(found == role.by_layer.end() ? NAN : found->second);
        }
      }
      const std::string title = model + ", " + row.recipe + ": relative squared error";
      pictures.push_back({"sites-" + model + "-" + row.recipe, title,
                          heat_map_svg({title, "layer", "against the original on the same text"},
                                       names, columns, values)});
    }
  }
}

}  // namespace

std::vector<Picture> report_pictures(const ReportModels& models) {
  std::vector<Picture> pictures;
  add_scatters(models, pictures);
  add_drifts(models, pictures);
  add_heat_maps(models, pictures);
  return pictures;
}

std::string drift_svg(const std::string& name, const DriftResult& drift) {
  Series series{name, {}, true};
  for (const DriftBin& bin : drift.bins) {
    const double half = kQuantile95 * bin.kl.error;
    series.points.push_back({.x = std::sqrt(static_cast<double>(bin.begin * bin.end)),
                             .y = bin.kl.value,
                             .low = bin.kl.value - half,
                             .high = bin.kl.value + half});
  }
  return plot_svg({.title = "Divergence by position",
                   .x_label = "tokens read",
                   .y_label = "mean KL to the reference, nats per token"},
                  {series}, {.log_x = true, .log_y = false});
}

void write_report(const std::string& path, const ReportModels& models) {
  const std::filesystem::path output(path);
  std::string text = "# Results\n\n";
  for (const Picture& picture : report_pictures(models)) {
    const std::string name = file_name_of(output.stem().string() + "-" + picture.name + ".svg");
    write_file_atomic((output.parent_path() / name).string(), picture.svg);
    text += fmt::format("![{}]({})\n\n", picture.title, name);
  }
  write_file_atomic(path, text + report_markdown(models));
}

}  // namespace krait
