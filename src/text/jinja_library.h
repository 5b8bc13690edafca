// What templates call: filters, tests, methods of values, functions.
#pragma once

#include <ctime>
#include <string_view>

#include "text/jinja_value.h"

namespace krait::jinja {

using Filter = Value (*)(Budget&, const Value& subject, const Arguments&);
using Test = bool (*)(Budget&, const Value& subject, const Arguments&);

/// Null where there is none of that name. `safe` is not among them: nothing is escaped, so that it
/// changes nothing at the end of what is printed, where alone the parser lets it be.
Filter find_filter(std::string_view name);
Test find_test(std::string_view name);
/// Whether a value of any type has a method of that name that can be called.
bool is_method(std::string_view name);
/// Whether there is a function of that name.
bool is_function(std::string_view name);

/// subject.name and subject[key] as Jinja's sandbox looks them up: undefined where there is none.
Value attribute(Budget& budget, const Value& subject, std::string_view name);
Value item(Budget& budget, const Value& subject, const Value& key);
/// subject[start:stop:step]; each bound an integer or none.
Value slice(Budget& budget, const Value& subject, const Value& start, const Value& stop,
            const Value& step);
/// a OP b for OP of + - * / // % **; -a and +a.
Value arithmetic(Budget& budget, std::string_view op, const Value& a, const Value& b);
Value negative(const Value& a);
Value positive(const Value& a);

/// json.dumps(value) with the arguments of transformers' tojson.
Value to_json(Budget& budget, const Value& value, const Arguments& arguments);

}  // namespace krait::jinja
