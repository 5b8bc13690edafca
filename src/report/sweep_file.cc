#include "report/sweep_file.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "core/check.h"
#include "core/choices.h"
#include "eval/tasks.h"
#include "io/json_fields.h"
#include "io/sha256.h"
#include "quant/recipe.h"

namespace krait {
namespace {

using enum ErrorCode;
namespace fs = std::filesystem;

constexpr std::int64_t kMost = 1 << 30;

JsonFields fields_of(const Json& json, const std::string& where,
                     const std::vector<std::string>& known) {
  return {json, where, known, bad_data};
}

/// A part of the file by its key, or nullptr.
const Json* part_of(const Json& json, const char* key) {
  const auto it = json.find(key);
  return it == json.end() ? nullptr : &*it;
}

int small_number(const JsonFields& fields, const char* key, std::int64_t low, int fallback) {
  return static_cast<int>(fields.integer(key, low, kMost, fallback));
}

SweepText parse_text(const Json& json, const std::string& where) {
  const JsonFields fields = fields_of(json, where, {"name", "file", "seq_len", "max_tokens"});
  SweepText text;
  text.file = fields.text("file");
  text.seq_len = fields.integer("seq_len", 2, kMost, text.seq_len);
  text.max_tokens = fields.integer("max_tokens", 0, kMost, 0);
  text.name = fields.text("name", file_name_of(text.file));
  return text;
}

void parse_texts(SweepFile& sweep, const Json& json, const std::string& where) {
  const bool is_list = json.is_array();
  for (std::size_t i = 0; i < (is_list ? json.size() : 1); ++i) {
    sweep.texts.push_back(is_list ? parse_text(json[i], fmt::format("{}[{}]", where, i))
                                  : parse_text(json, where));
    const auto same = [&](const SweepText& other) { return other.name == sweep.texts[i].name; };
    check(std::count_if(sweep.texts.begin(), sweep.texts.end(), same) == 1, bad_data,
          "{}: two texts are called {}: give them a \"name\"", where, sweep.texts[i].name);
  }
}

void parse_tasks(SweepFile& sweep, const Json& json, const std::string& where) {
  const JsonFields fields = fields_of(json, where, {"names", "data", "limit"});
  sweep.tasks.names = fields.texts("names");
  sweep.tasks.data = fields.text("data", sweep.tasks.data);
  sweep.tasks.limit = fields.integer("limit", 0, kMost, 0);
  const std::vector<std::string> known = task_names();
  for (const std::string& name : sweep.tasks.names) {
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      fail(bad_data, "{}: there is no task {}", where, unknown_name(name, known));
    }
  }
}

void parse_recall(SweepFile& sweep, const Json& json, const std::string& where) {
  const JsonFields fields = fields_of(
      json, where, {"file", "tasks", "lengths", "distances", "needles", "fillers", "seed"});
  RecallOptions& options = sweep.recall.options;
  sweep.recall.wanted = true;
  sweep.recall.file = fields.text("file", "");
  options.tasks = fields.texts("tasks", recall_tasks());
  options.lengths = fields.integers("lengths", 1, kMost, options.lengths);
  options.distances = fields.integers("distances", 0, kMost, options.distances);
  options.needles = small_number(fields, "needles", 2, options.needles);
  options.fillers = small_number(fields, "fillers", 1, options.fillers);
  options.seed = static_cast<std::uint64_t>(
      fields.integer("seed", 0, kMost, static_cast<std::int64_t>(options.seed)));
  const std::vector<std::string> known = recall_tasks();
  for (const std::string& task : options.tasks) {
    if (std::find(known.begin(), known.end(), task) == known.end()) {
      fail(bad_data, "{}: there is no recall task {}", where, unknown_name(task, known));
    }
  }
}

void parse_drift(SweepFile& sweep, const Json& json, const std::string& where) {
  const JsonFields fields =
      fields_of(json, where, {"file", "prompts", "prompt_tokens", "generated", "read"});
  DriftOptions& options = sweep.drift.options;
  sweep.drift.wanted = true;
  sweep.drift.file = fields.text("file");
  options.prompts = small_number(fields, "prompts", 1, options.prompts);
  options.prompt_tokens = fields.integer("prompt_tokens", 1, kMost, options.prompt_tokens);
  options.generated = fields.integer("generated", 0, kMost, options.generated);
  options.read = fields.integer("read", 2, kMost, options.read);
}

void parse_sites(SweepFile& sweep, const Json& json, const std::string& where) {
  const JsonFields fields = fields_of(json, where, {"file", "seq_len", "max_tokens"});
  sweep.sites.wanted = true;
  sweep.sites.file = fields.text("file");
  sweep.sites.seq_len = fields.integer("seq_len", 2, kMost, sweep.sites.seq_len);
  sweep.sites.max_tokens = fields.integer("max_tokens", 0, kMost, sweep.sites.max_tokens);
}

void parse_speed(SweepFile& sweep, const Json& json, const std::string& where) {
  const JsonFields fields = fields_of(json, where, {"prefill", "decode", "repeats"});
  sweep.speed.wanted = true;
  sweep.speed.prefill = small_number(fields, "prefill", 1, sweep.speed.prefill);
  sweep.speed.decode = small_number(fields, "decode", 1, sweep.speed.decode);
  sweep.speed.repeats = small_number(fields, "repeats", 1, sweep.speed.repeats);
}

void parse_calibration(SweepFile& sweep, const Json& json, const std::string& where) {
  const JsonFields fields = fields_of(json, where, {"file", "samples", "seq_len", "seed"});
  sweep.calibration.file = fields.text("file", "");
  sweep.calibration.samples = small_number(fields, "samples", 1, sweep.calibration.samples);
  sweep.calibration.seq_len = small_number(fields, "seq_len", 1, sweep.calibration.seq_len);
  sweep.calibration.seed = static_cast<std::uint64_t>(
      fields.integer("seed", 0, kMost, static_cast<std::int64_t>(sweep.calibration.seed)));
}

struct Part {
  const char* key;
  void (*parse)(SweepFile& sweep, const Json& json, const std::string& where);
};
constexpr Part kParts[] = {{"text", parse_texts},
                           {"tasks", parse_tasks},
                           {"recall", parse_recall},
                           {"drift", parse_drift},
                           {"sites", parse_sites},
                           {"speed", parse_speed},
                           {"calibration", parse_calibration}};

std::string digest_of(const std::string& file) {
  return file.empty() || file == "generated" || file == "built-in" ? file : sha256_file_hex(file);
}

}  // namespace

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

SweepFile read_sweep_file(const std::string& path) {
  return parse_sweep(parse_json(read_file(path), path, DuplicateKeys::refuse), path);
}

SweepFile parse_sweep(const Json& json, const std::string& where) {
  std::vector<std::string> known = {"models", "recipes"};
  for (const Part& part : kParts) known.emplace_back(part.key);
  const JsonFields top = fields_of(json, where, known);
  SweepFile sweep;
  top.at("models");
  sweep.models = top.texts("models");
  top.at("recipes");
  sweep.recipes = top.texts("recipes");
  for (const Part& part : kParts) {
    if (const Json* found = part_of(json, part.key)) {
      part.parse(sweep, *found, where + ": " + part.key);
    }
  }
  const bool measures = !sweep.texts.empty() || !sweep.tasks.names.empty() || sweep.recall.wanted ||
                        sweep.drift.wanted || sweep.sites.wanted || sweep.speed.wanted;
  check(measures, bad_data,
        "{}: there is nothing to measure: none of text, tasks, recall, drift, sites and speed",
        where);
  return sweep;
}

std::vector<SweepCell> cells_of(const SweepFile& sweep) {
  std::vector<SweepCell> cells;
  std::set<std::string> names;
  for (const std::string& model : sweep.models) {
    for (const std::string& name : sweep.recipes) {
      const Recipe recipe = load_recipe(name);
      SweepCell cell{file_name_of(model) + "~" + file_name_of(recipe.name), model, name,
                     recipe.source};
      check(names.insert(cell.name).second, bad_data,
            "two results would be called {}: name models and recipes differently", cell.name);
      cells.push_back(std::move(cell));
    }
  }
  return cells;
}

Json sweep_settings(const SweepFile& sweep) {
  Json settings = {{"calibration",
                    {{"file", digest_of(sweep.calibration.file)},
                     {"samples", sweep.calibration.samples},
                     {"seq_len", sweep.calibration.seq_len},
                     {"seed", sweep.calibration.seed}}}};
  for (const SweepText& text : sweep.texts) {
    settings["text"].push_back({{"name", text.name},
                                {"file", digest_of(text.file)},
                                {"seq_len", text.seq_len},
                                {"max_tokens", text.max_tokens}});
  }
  for (const std::string& name : sweep.tasks.names) {
    const fs::path file = fs::path(sweep.tasks.data) / (name + ".jsonl");
    settings["tasks"][name] = {{"file", digest_of(file.string())}, {"limit", sweep.tasks.limit}};
  }
  if (sweep.recall.wanted) {
    const RecallOptions& o = sweep.recall.options;
    settings["recall"] = {{"file", digest_of(sweep.recall.file)},
                          {"tasks", o.tasks},
                          {"lengths", o.lengths},
                          {"distances", o.distances},
                          {"needles", o.needles},
                          {"fillers", o.fillers},
                          {"seed", o.seed}};
  }
  if (sweep.drift.wanted) {
    const DriftOptions& o = sweep.drift.options;
    settings["drift"] = {{"file", digest_of(sweep.drift.file)},
                         {"prompts", o.prompts},
                         {"prompt_tokens", o.prompt_tokens},
                         {"generated", o.generated},
                         {"read", o.read}};
  }
  if (sweep.sites.wanted) {
    settings["sites"] = {{"file", digest_of(sweep.sites.file)},
                         {"seq_len", sweep.sites.seq_len},
                         {"max_tokens", sweep.sites.max_tokens}};
  }
  if (sweep.speed.wanted) {
    settings["speed"] = {{"prefill", sweep.speed.prefill},
                         {"decode", sweep.speed.decode},
                         {"repeats", sweep.speed.repeats}};
  }
  return settings;
}

}  // namespace krait
