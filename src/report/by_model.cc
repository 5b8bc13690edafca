#include "report/by_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "eval/windows.h"

namespace krait {

ReportModels report_models(const Results& results) {
  ReportModels models;
  for (const auto& [name, result] : results) {
    models[text_at(result, "/spec/model")].push_back(
        {text_at(result, "/spec/recipe/name"), result, number_at(result, "/bytes")});
  }
  for (auto& [model, rows] : models) {
    std::stable_sort(rows.begin(), rows.end(), [](const ReportRow& a, const ReportRow& b) {
      if (std::isnan(a.bytes) || std::isnan(b.bytes)) return !std::isnan(a.bytes);
      return a.bytes > b.bytes;
    });
  }
  return models;
}

std::map<std::string, std::string> tasks_of(const std::vector<ReportRow>& rows) {
  std::map<std::string, std::string> tasks;
  for (const ReportRow& row : rows) {
    const auto found = row.result.find("tasks");
    if (found == row.result.end() || !found->is_object()) continue;
    for (const auto& [task, entry] : found->items()) {
      tasks[task] = entry.is_object() ? entry.value("headline", "acc") : "acc";
    }
  }
  return tasks;
}

double mean_accuracy(const Json& result) {
  const auto tasks = result.find("tasks");
  if (tasks == result.end() || !tasks->is_object()) return NAN;
  std::vector<double> values;
  for (const auto& [task, entry] : tasks->items()) {
    values.push_back(number_at(entry, fmt::format("/{}/value", entry.value("headline", "acc"))));
  }
  return values.empty() ? NAN : mean_of(values).value;
}

Layers summarize_layers(const std::vector<double>& values) {
  std::vector<double> known;
  for (const double value : values) {
    if (!std::isnan(value)) known.push_back(value);
  }
  if (known.empty()) return {NAN, NAN, 0};
  return {quantile(known, 0.5), *std::max_element(known.begin(), known.end()), known.size()};
}

std::vector<double> RoleValues::values() const {
  std::vector<double> list;
  for (const auto& [layer, value] : by_layer) list.push_back(value);
  return list;
}

std::vector<RoleValues> role_values(const Json& result, const char* list,
                                    const std::string& pointer) {
  std::vector<RoleValues> roles;
  const Json::json_pointer place(std::string("/sites/") + list);
  if (!result.contains(place) || !result.at(place).is_array()) return roles;
  for (const Json& entry : result.at(place)) {
    const std::string role = text_at(entry, "/role");
    const auto same = [&](const RoleValues& known) { return known.role == role; };
    auto found = std::find_if(roles.begin(), roles.end(), same);
    if (found == roles.end()) found = roles.insert(roles.end(), {role, {}});
    const double layer = number_at(entry, "/layer"), value = number_at(entry, pointer);
    double& kept =
        found->by_layer.try_emplace(std::isnan(layer) ? -1 : static_cast<int>(layer), value)
            .first->second;
    kept = std::isnan(kept) ? value : std::max(kept, value);  // of experts the worst
  }
  return roles;
}

}  // namespace krait
