#include "report/results.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "core/check.h"
#include "io/file.h"

namespace krait {
namespace {

namespace fs = std::filesystem;
using enum ErrorCode;

struct Origin {
  std::string file;
  Json value;
};

/// The path of the first difference of two values, "/settings/text/0/seq_len".
std::string first_difference(const Json& a, const Json& b) {
  const Json patch = Json::diff(a, b);
  return patch.empty() ? "" : patch.front().value("path", "");
}

/// What was seen first under a name, and an error where it is something else now.
void require_same(std::map<std::string, Origin>& seen, const std::string& name, const Json& value,
                  const std::string& file) {
  const auto [it, inserted] = seen.emplace(name, Origin{file, value});
  if (inserted || it->second.value == value) return;
  fail(bad_data, "{} and {} were not made alike: {} differs at {}", it->second.file, file, name,
       value.is_structured() ? first_difference(it->second.value, value) : "the whole value");
}

std::string cell_text(double value, fmt::format_string<double&> format) {
  return std::isnan(value) ? "-" : fmt::format(format, value);
}

}  // namespace

bool is_result(const Json& json) {
  return json.is_object() && json.contains("spec") && json["spec"].is_object() &&
         json["spec"].contains("settings");
}

bool is_failure(const Json& result) { return result.contains("error"); }

double number_at(const Json& result, const std::string& pointer) {
  const Json::json_pointer path(pointer);
  return result.contains(path) && result.at(path).is_number() ? result.at(path).get<double>() : NAN;
}

std::string text_at(const Json& result, const std::string& pointer) {
  const Json::json_pointer path(pointer);
  return result.contains(path) && result.at(path).is_string() ? result.at(path).get<std::string>()
                                                              : "?";
}

Json first_text(const Json& result) {
  const std::string name = text_at(result, "/spec/settings/text/0/name");
  const auto texts = result.find("texts");
  if (texts == result.end() || !texts->is_object()) return nullptr;
  return texts->value(name, Json());
}

Results read_results(const std::vector<std::string>& directories) {
  Results results;
  std::map<std::string, Origin> settings, models, recipes;
  for (const std::string& directory : directories) {
    check(fs::is_directory(directory), not_found, "{} is not a directory", directory);
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(directory)) {
      if (entry.path().extension() == ".json") files.push_back(entry.path());
    }
    std::sort(files.begin(), files.end());
    for (const fs::path& path : files) {
      Json result = read_json_file(path.string());
      if (!is_result(result)) continue;
      const Json& spec = result["spec"];
      require_same(settings, "settings", spec["settings"], path.string());
      require_same(models, "model " + text_at(spec, "/model"), spec.value("model_sha256", Json()),
                   path.string());
      require_same(recipes, "recipe " + text_at(spec, "/recipe/name"), spec.value("recipe", Json()),
                   path.string());
      Json& kept = results[path.stem().string()];
      if (kept.is_null() || (is_failure(kept) && !is_failure(result))) kept = std::move(result);
    }
  }
  check(!results.empty(), not_found, "no results of krait sweep in {}",
        fmt::join(directories, ", "));
  return results;
}

void write_results(const Results& results, const std::string& directory) {
  const auto path_of = [&](const std::string& name) {
    return (fs::path(directory) / (name + ".json")).string();
  };
  for (const auto& [name, result] : results) {
    check(!fs::exists(path_of(name)) || is_result(read_json_file(path_of(name))), bad_data,
          "{} is no result of krait sweep: it is not replaced", path_of(name));
  }
  fs::create_directories(directory);
  for (const auto& [name, result] : results) {
    write_file_atomic(path_of(name), format_json(result));
  }
}

Table result_table(const Results& results) {
  Table table({"model", "recipe", "MB", "bits/weight", "nll difference", "mean KL", "top-1"});
  for (const auto& [name, result] : results) {
    const std::string model = text_at(result, "/spec/model");
    const std::string recipe = text_at(result, "/spec/recipe/name");
    if (is_failure(result)) {
      table.add({model, recipe, "-", "-", "-", "-", "-"});
      continue;
    }
    const Json text = first_text(result);
    table.add({model, recipe, cell_text(number_at(result, "/bytes") / 1e6, "{:.2f}"),
               cell_text(number_at(result, "/bits_per_weight"), "{:.2f}"),
               cell_text(number_at(text, "/nll_difference"), "{:+.5f}"),
               cell_text(number_at(text, "/kl_mean"), "{:.6f}"),
               cell_text(100 * number_at(text, "/top1_agreement"), "{:.2f}%")});
  }
  return table;
}

}  // namespace krait
