#include "cli/sweep_file.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "core/check.h"
#include "core/choices.h"
#include "eval/tasks.h"
#include "quant/recipe.h"

namespace krait::cli {
namespace {

using enum ErrorCode;
namespace fs = std::filesystem;

/// An object of the file, read key by key; what nobody asked for is an error.
class Reader {
 public:
  Reader(const Json& json, std::string where) : json_(json), where_(std::move(where)) {
    check(json.is_object(), bad_data, "{}: should be an object, is {}", where_, json.type_name());
  }
  void text(const char* key, std::string& value) {
    if (const Json* found = find(key)) {
      check(found->is_string(), bad_data, "{}: {} should be text", where_, key);
      value = found->get<std::string>();
    }
  }
  template <typename Int>
  void number(const char* key, Int& value, std::int64_t least) {
    if (const Json* found = find(key)) {
      const bool valid = found->is_number_integer() && *found >= least && *found <= 1 << 30;
      if (!valid) {
        fail(bad_data, "{}: {} should be a whole number of at least {}, got {}", where_, key, least,
             found->dump(-1, ' ', true, Json::error_handler_t::replace));
      }
      value = found->get<Int>();
    }
  }
  void texts(const char* key, std::vector<std::string>& values) {
    const Json* found = find(key);
    if (!found) return;
    check(found->is_array() && !found->empty(), bad_data, "{}: {} should be a list of texts",
          where_, key);
    for (const Json& element : *found) {
      check(element.is_string(), bad_data, "{}: {} should be a list of texts", where_, key);
      values.push_back(element.get<std::string>());
    }
  }
  const Json* find(const char* key) {
    known_.emplace_back(key);
    const auto it = json_.find(key);
    return it == json_.end() ? nullptr : &*it;
  }
  void finish() const {
    for (const auto& [key, value] : json_.items()) {
      if (std::find(known_.begin(), known_.end(), key) == known_.end()) {
        fail(bad_data, "{}: unknown key {}", where_, unknown_name(key, known_));
      }
    }
  }

 private:
  const Json& json_;
  std::string where_;
  std::vector<std::string> known_;
};

/// The last part of a path, safe as a file name.
std::string file_name_of(const std::string& path) {
  std::string name = fs::path(path).lexically_normal().filename().string();
  if (name.empty()) name = fs::path(path).lexically_normal().parent_path().filename().string();
  for (char& c : name) {
    const bool safe = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      c == '.' || c == '-' || c == '_';
    if (!safe) c = '_';
  }
  return name;
}

}  // namespace

SweepFile read_sweep_file(const std::string& path) {
  return parse_sweep(parse_json(read_file(path), path, DuplicateKeys::refuse), path);
}

SweepFile parse_sweep(const Json& json, const std::string& where) {
  SweepFile sweep;
  sweep.source = json;
  Reader top(json, where);
  top.texts("models", sweep.models);
  top.texts("recipes", sweep.recipes);
  if (const Json* found = top.find("text")) {
    Reader text(*found, where + ": text");
    text.text("file", sweep.text.file);
    text.number("seq_len", sweep.text.seq_len, 2);
    text.number("max_tokens", sweep.text.max_tokens, 0);
    text.finish();
  }
  if (const Json* found = top.find("tasks")) {
    Reader tasks(*found, where + ": tasks");
    tasks.texts("names", sweep.tasks.names);
    tasks.text("data", sweep.tasks.data);
    tasks.number("limit", sweep.tasks.limit, 0);
    tasks.finish();
  }
  if (const Json* found = top.find("calibration")) {
    Reader calibration(*found, where + ": calibration");
    calibration.text("file", sweep.calibration.file);
    calibration.number("samples", sweep.calibration.samples, 1);
    calibration.number("seq_len", sweep.calibration.seq_len, 1);
    calibration.number("seed", sweep.calibration.seed, 0);
    calibration.finish();
  }
  top.finish();
  check(!sweep.models.empty(), bad_data, "{}: models is missing", where);
  check(!sweep.recipes.empty(), bad_data, "{}: recipes is missing", where);
  check(!sweep.text.file.empty() || !sweep.tasks.names.empty(), bad_data,
        "{}: there is nothing to measure: neither text.file nor tasks.names", where);
  const std::vector<std::string> tasks = task_names();
  for (const std::string& name : sweep.tasks.names) {
    if (std::find(tasks.begin(), tasks.end(), name) == tasks.end()) {
      fail(bad_data, "{}: there is no task {}", where, unknown_name(name, tasks));
    }
  }
  return sweep;
}

std::vector<SweepCell> cells_of(const SweepFile& sweep) {
  std::vector<SweepCell> cells;
  std::set<std::string> names;
  for (const std::string& model : sweep.models) {
    for (const std::string& name : sweep.recipes) {
      const Recipe recipe = load_recipe(name);
      SweepCell cell{file_name_of(model) + "~" + file_name_of(recipe.name), model, name, {}};
      check(names.insert(cell.name).second, bad_data,
            "two results would be called {}: name models and recipes differently", cell.name);
      cell.spec = {{"model", model}, {"recipe", recipe.source}};
      for (const char* key : {"text", "tasks", "calibration"}) {
        if (sweep.source.contains(key)) cell.spec[key] = sweep.source[key];
      }
      cells.push_back(std::move(cell));
    }
  }
  return cells;
}

}  // namespace krait::cli
