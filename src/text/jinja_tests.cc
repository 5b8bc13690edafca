// Tests of Jinja: what may stand behind "is".
#include <map>

#include "text/jinja_library.h"
#include "text/jinja_text.h"

namespace krait::jinja {
namespace {

template <typename Check>
bool plain(const Arguments& arguments, const Check& check) {
  bind("a test", arguments, {});
  return check();
}

#define KRAIT_TEST(condition)                                                       \
  [](Budget& budget [[maybe_unused]], const Value& v, const Arguments& a) -> bool { \
    return plain(a, [&]() -> bool { return condition; });                           \
  }

bool is_bool(const Value& value, bool expected) {
  const bool* boolean = value.get<bool>();
  return boolean != nullptr && *boolean == expected;
}

bool is_sequence(const Value& value) {
  if (value.is_undefined() || value.text() != nullptr) return true;
  if (value.get<std::shared_ptr<const Dict>>() != nullptr) return true;
  const auto* sequence = value.get<std::shared_ptr<Sequence>>();
  return sequence != nullptr && (*sequence)->indexed();
}

bool leaves(Budget& budget, const Value& value, std::int64_t divisor, std::int64_t rest) {
  return equal(budget, arithmetic(budget, "%", value, divisor), rest);
}

const Value& other(const Arguments& arguments) {
  return *bind("a test", arguments, {"/other"}, 1)[0];
}

template <char first, char second>
bool compares(Budget& budget, const Value& value, const Arguments& arguments) {
  constexpr char kOperator[] = {first, second, '\0'};
  return ordered(budget, kOperator, value, other(arguments));
}

bool equals(Budget& budget, const Value& value, const Arguments& arguments) {
  return equal(budget, value, other(arguments));
}
bool differs(Budget& budget, const Value& value, const Arguments& arguments) {
  return !equal(budget, value, other(arguments));
}

bool is_in(Budget& budget, const Value& value, const Arguments& arguments) {
  return contains(budget, *bind("in", arguments, {"seq"}, 1)[0], value);
}

bool is_divisible(Budget& budget, const Value& value, const Arguments& arguments) {
  const Value& divisor = *bind("divisibleby", arguments, {"num"}, 1)[0];
  return equal(budget, arithmetic(budget, "%", value, divisor), std::int64_t{0});
}

const std::map<std::string_view, Test> kTests = {
    {"!=", differs},
    {"<", compares<'<', '\0'>},
    {"<=", compares<'<', '='>},
    {"==", equals},
    {">", compares<'>', '\0'>},
    {">=", compares<'>', '='>},
    {"boolean", KRAIT_TEST(v.get<bool>() != nullptr)},
    {"callable",
     KRAIT_TEST(v.get<std::shared_ptr<const Function>>() != nullptr || v.is_undefined())},
    {"defined", KRAIT_TEST(!v.is_undefined())},
    {"divisibleby", is_divisible},
    {"eq", equals},
    {"equalto", equals},
    {"even", KRAIT_TEST(leaves(budget, v, 2, 0))},
    {"false", KRAIT_TEST(is_bool(v, false))},
    {"float", KRAIT_TEST(v.get<double>() != nullptr)},
    {"ge", compares<'>', '='>},
    {"greaterthan", compares<'>', '\0'>},
    {"gt", compares<'>', '\0'>},
    {"in", is_in},
    {"integer", KRAIT_TEST(v.get<std::int64_t>() != nullptr)},
    {"iterable", KRAIT_TEST(iterable(v))},
    {"le", compares<'<', '='>},
    {"lessthan", compares<'<', '\0'>},
    {"lower", KRAIT_TEST(is_lower(to_text(budget, v)))},
    {"lt", compares<'<', '\0'>},
    {"mapping", KRAIT_TEST(v.get<std::shared_ptr<const Dict>>() != nullptr)},
    {"ne", differs},
    {"none", KRAIT_TEST(v.is_none())},
    {"number", KRAIT_TEST(number(v).has_value())},
    {"odd", KRAIT_TEST(leaves(budget, v, 2, 1))},
    {"sequence", KRAIT_TEST(is_sequence(v))},
    {"string", KRAIT_TEST(v.text() != nullptr)},
    {"true", KRAIT_TEST(is_bool(v, true))},
    {"undefined", KRAIT_TEST(v.is_undefined())},
    {"upper", KRAIT_TEST(is_upper(to_text(budget, v)))},
};

#undef KRAIT_TEST

}  // namespace

Test find_test(std::string_view name) {
  const auto found = kTests.find(name);
  return found != kTests.end() ? found->second : nullptr;
}

}  // namespace krait::jinja
