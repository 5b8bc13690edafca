// Renders chat templates for comparison with Jinja: each line of standard input is a JSON object
// {"template": TEXT, "inputs": {...}}, each line of output {"text": TEXT} or {"error": SENTENCE}.
// strftime_now tells 2026-03-04 05:06:07, a Wednesday.
#include <ctime>
#include <exception>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "text/chat_template.h"

int main() {
  std::tm now{};
  now.tm_year = 126, now.tm_mon = 2, now.tm_mday = 4, now.tm_wday = 3, now.tm_yday = 62;
  now.tm_hour = 5, now.tm_min = 6, now.tm_sec = 7;
  for (std::string line; std::getline(std::cin, line);) {
    nlohmann::json result;
    try {
      const auto record = nlohmann::ordered_json::parse(line);
      const auto chat =
          krait::ChatTemplate::parse(record.at("template").get<std::string>(), "line");
      result["text"] = chat.render(record.at("inputs"), {.now = now});
    } catch (const std::exception& error) {
      result["error"] = error.what();
    }
    std::cout << result.dump() << '\n';
  }
}
