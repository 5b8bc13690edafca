#include "cli/prompts.h"

#include <algorithm>

#include "core/check.h"
#include "io/json.h"

namespace krait::cli {
namespace {

bool is_json_prompt(std::string_view line) {
  if (!line.starts_with('{')) return false;
  const Json json = Json::parse(line, nullptr, false);
  return json.is_object() && json.contains("prompt");
}

std::string read_json_prompt(std::string_view line, const std::string& where) {
  const Json json = parse_json(line, where);
  const Json prompt = json.is_object() ? json.value("prompt", Json()) : Json();
  check(prompt.is_string(), ErrorCode::bad_data,
        "{}: expected {{\"prompt\": TEXT}} as in the lines before", where);
  return prompt.get<std::string>();
}

}  // namespace

std::vector<std::string> parse_prompts(std::string_view text, const std::string& where) {
  std::vector<std::string> prompts;
  bool is_json = false;
  for (int number = 1; !text.empty(); ++number) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.find_first_not_of(" \t") == std::string_view::npos) continue;
    if (prompts.empty()) is_json = is_json_prompt(line);
    prompts.push_back(is_json ? read_json_prompt(line, fmt::format("{}:{}", where, number))
                              : std::string(line));
  }
  check(!prompts.empty(), ErrorCode::invalid_argument, "{} has no prompts", where);
  return prompts;
}

}  // namespace krait::cli
