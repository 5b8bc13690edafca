// Functions that templates call by their names.
#pragma once

#include <ctime>
#include <optional>

#include "text/jinja_value.h"

namespace krait::jinja {

/// Local time where `now` is nothing.
Value strftime_now(const Arguments& arguments, const std::optional<std::tm>& now);
Value range(Budget& budget, const Arguments& arguments);
Value dict(Budget& budget, const Arguments& arguments);

}  // namespace krait::jinja
