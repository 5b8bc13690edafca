#include "eval/tasks.h"

#include <algorithm>
#include <filesystem>

#include "core/check.h"
#include "core/choices.h"
#include "io/file.h"
#include "io/json.h"

namespace krait {
namespace {

using enum ErrorCode;

/// A line of the file, with what a message about it needs.
struct Line {
  Json fields;
  std::string where;  // "piqa.jsonl:17"

  const Json& field(const char* key) const {
    const auto it = fields.find(key);
    check(it != fields.end(), bad_data, "{}: \"{}\" is missing", where, key);
    return *it;
  }
  std::string text(const char* key) const { return string_of(field(key), key); }
  std::vector<std::string> texts(const char* key) const {
    const Json& list = field(key);
    check(list.is_array() && list.size() >= 2, bad_data,
          "{}: \"{}\" should be a list of at least two strings", where, key);
    std::vector<std::string> result;
    for (const Json& element : list) result.push_back(string_of(element, key));
    return result;
  }
  std::size_t gold(std::size_t choices) const {
    const Json& value = field("gold");
    if (!value.is_number_integer() || value < 0 || value >= choices) {
      fail(bad_data, "{}: \"gold\" should be the index of one of {} choices, got {}", where,
           choices, value.dump(-1, ' ', true, Json::error_handler_t::replace));
    }
    return value.get<std::size_t>();
  }

 private:
  std::string string_of(const Json& value, const char* key) const {
    check(value.is_string(), bad_data, "{}: \"{}\" should be text, is {}", where, key,
          value.type_name());
    return value.get<std::string>();
  }
};

std::int64_t count_characters(std::string_view utf8) {
  return std::count_if(utf8.begin(), utf8.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

TaskChoice make_choice(std::string context, const std::string& text) {
  return {std::move(context), " " + text, count_characters(text)};
}

/// The last word of a passage (Paperno et al. 2016).
TaskItem read_cloze(const Line& line) {
  const std::string text = line.text("text");
  const std::size_t space = text.rfind(' ');
  check(space != std::string::npos && space > 0 && space + 1 < text.size(), bad_data,
        "{}: \"text\" should end with a space and a word to guess", line.where);
  return {{make_choice(text.substr(0, space), text.substr(space + 1))}, 0};
}

/// A question and its answers.
TaskItem read_question(const Line& line) {
  TaskItem item;
  const std::string query = line.text("query");
  for (const std::string& choice : line.texts("choices")) {
    item.choices.push_back(make_choice(query, choice));
  }
  item.gold = line.gold(item.choices.size());
  return item;
}

/// PIQA's goals are asked as the harness asks them.
TaskItem read_goal(const Line& line) {
  TaskItem item = read_question(line);
  for (TaskChoice& choice : item.choices) {
    if (!choice.context.starts_with("Question: ")) {
      choice.context = "Question: " + choice.context + "\nAnswer:";
    }
  }
  return item;
}

/// One sentence with two beginnings: its end is judged after each.
TaskItem read_beginnings(const Line& line) {
  TaskItem item;
  const std::string end = line.text("continuation");
  for (std::string& context : line.texts("context_options")) {
    item.choices.push_back(make_choice(std::move(context), end));
  }
  item.gold = line.gold(item.choices.size());
  return item;
}

struct TaskRow {
  TaskKind kind;
  TaskItem (*read)(const Line& line);
};
constexpr TaskRow kTasks[] = {
    {{"lambada_openai", false, true, "acc"}, read_cloze},
    {{"hellaswag", true, false, "acc_norm"}, read_question},
    {{"piqa", true, false, "acc"}, read_goal},
    {{"arc_easy", true, false, "acc"}, read_question},
    {{"arc_challenge", true, false, "acc_norm"}, read_question},
    {{"winogrande", false, false, "acc"}, read_beginnings},
};

const TaskRow& find_task(std::string_view name) {
  if (name == "lambada") name = "lambada_openai";
  const auto row = std::find_if(std::begin(kTasks), std::end(kTasks),
                                [&](const TaskRow& known) { return known.kind.name == name; });
  if (row == std::end(kTasks)) {
    fail(invalid_argument, "there is no task {}", unknown_name(name, task_names()));
  }
  return *row;
}

std::string file_of(const TaskRow& row) { return std::string(row.kind.name) + ".jsonl"; }

}  // namespace

std::vector<std::string> task_names() {
  std::vector<std::string> names;
  for (const auto& row : kTasks) names.emplace_back(row.kind.name);
  return names;
}

Task read_task(std::string_view name, const std::string& directory, std::int64_t limit) {
  const auto path = std::filesystem::path(directory) / file_of(find_task(name));
  return parse_task(name, read_file(path.string()), limit);
}

Task parse_task(std::string_view name, std::string_view text, std::int64_t limit) {
  const TaskRow& row = find_task(name);
  const std::string file = file_of(row);
  Task task{row.kind, {}};
  std::size_t number = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view content = text.substr(begin, end - begin);
    begin = end + 1;
    ++number;
    if (content.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    Line line{{}, fmt::format("{}:{}", file, number)};
    line.fields = parse_json(content, line.where);
    check(line.fields.is_object(), bad_data, "{}: should be an object", line.where);
    task.items.push_back(row.read(line));
    if (limit > 0 && task.items.size() == static_cast<std::size_t>(limit)) break;
  }
  check(!task.items.empty(), bad_data, "{} holds no item", file);
  return task;
}

}  // namespace krait
