// From a template's tree and variables to text.
#pragma once

#include <cstdint>
#include <ctime>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja_tree.h"

namespace krait::jinja {

struct Limits {
  std::int64_t steps = 20'000'000;       ///< see Budget; about a second
  std::size_t bytes = Budget::kMaxText;  ///< of what is printed
};

/// `variables` are the names that the template sees, `now` what strftime_now tells (local time if
/// nothing). A Failure carries the sentence alone; `line` is where it happened.
std::string evaluate(const Body& body, std::vector<std::pair<std::string, Value>> variables,
                     const Limits& limits, const std::optional<std::tm>& now, Budget& budget,
                     int& line);

}  // namespace krait::jinja
