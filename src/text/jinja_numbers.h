// Filters that make numbers.
#pragma once

#include <optional>
#include <string>

#include "text/jinja_value.h"

namespace krait::jinja {

/// int(text) of Python, or nothing where it fails. An integer beyond 64 bits is refused.
std::optional<std::int64_t> parse_integer(const std::string& text);

Value int_filter(Budget& budget, const Value& subject, const Arguments& arguments);
Value float_filter(Budget& budget, const Value& subject, const Arguments& arguments);
Value abs_filter(Budget& budget, const Value& subject, const Arguments& arguments);
Value round_filter(Budget& budget, const Value& subject, const Arguments& arguments);

}  // namespace krait::jinja
