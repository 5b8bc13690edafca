#include "text/jinja_numbers.h"

#include <charconv>
#include <cmath>

#include "text/jinja_library.h"
#include "text/jinja_text.h"

namespace krait::jinja {
namespace {

[[noreturn]] void too_large() { raise("an integer grows beyond 64 bits"); }

std::int64_t truncated(double value) {
  if (std::abs(value) >= 0x1p63) too_large();
  return static_cast<std::int64_t>(value);
}

/// A number's text without white space around it and "_" between digits; nothing where an "_"
/// stands elsewhere.
std::optional<std::string> plain_number(const std::string& text) {
  const std::string_view all = strip(text, Side::both);
  if (has_digits_beyond_ascii(all)) raise("digits beyond ASCII are not supported");
  std::string out;
  const auto is_digit = [&](std::size_t i) {
    return i < all.size() && all[i] >= '0' && all[i] <= '9';
  };
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (all[i] != '_') {
      out += all[i];
    } else if (i == 0 || !is_digit(i - 1) || !is_digit(i + 1)) {
      return std::nullopt;
    }
  }
  return out;
}

/// float(text) of Python, or nothing.
std::optional<double> parse_float(const std::string& text) {
  const auto plain = plain_number(text);
  if (!plain) return std::nullopt;
  std::string_view digits = *plain;
  const bool negative = digits.starts_with('-');
  if (negative || digits.starts_with('+')) digits.remove_prefix(1);
  const std::string word = lower(digits);
  double value = 0;
  if (word == "inf" || word == "infinity") {
    value = HUGE_VAL;
  } else if (word == "nan") {
    value = std::nan("");
  } else {
    if (digits.empty() || (digits[0] != '.' && (digits[0] < '0' || digits[0] > '9'))) {
      return std::nullopt;
    }
    const auto [end, error] = std::from_chars(digits.begin(), digits.end(), value);
    if (end != digits.end() || error == std::errc::invalid_argument) return std::nullopt;
    if (error != std::errc()) raise("a number beyond the range of a float");
  }
  return negative ? -value : value;
}

}  // namespace

std::optional<std::int64_t> parse_integer(const std::string& text) {
  const auto plain = plain_number(text);
  if (!plain) return std::nullopt;
  std::string_view digits = *plain;
  if (digits.starts_with('+')) digits.remove_prefix(1);
  if (digits.starts_with('-') && plain->starts_with('+')) return std::nullopt;
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(digits.begin(), digits.end(), value);
  if (end != digits.end() || error == std::errc::invalid_argument) return std::nullopt;
  if (error != std::errc()) too_large();
  return value;
}

Value int_filter(Budget&, const Value& subject, const Arguments& arguments) {
  const auto given = bind("int", arguments, {"default", "base"});
  if (given[1] != nullptr && integer(*given[1], "base") != 10)
    raise("int: only base 10 is supported");
  const Value preset = given[0] != nullptr ? *given[0] : Value(std::int64_t{0});
  if (const auto* nothing = subject.get<Undefined>()) raise("{}", *nothing->what);
  if (const std::string* text = subject.text()) {
    if (const auto value = parse_integer(*text)) return *value;
    const auto real = parse_float(*text);
    return real && std::isfinite(*real) ? Value(truncated(*real)) : preset;
  }
  const auto value = number(subject);
  if (!value) return preset;
  if (value->is_int) return value->i;
  if (std::isnan(value->d)) return preset;
  return truncated(value->d);
}

Value float_filter(Budget&, const Value& subject, const Arguments& arguments) {
  const Value* preset = bind("float", arguments, {"default"})[0];
  if (const auto* nothing = subject.get<Undefined>()) raise("{}", *nothing->what);
  std::optional<double> value;
  if (const std::string* text = subject.text()) {
    value = parse_float(*text);
  } else if (const auto known = number(subject)) {
    value = known->d;
  }
  return value ? Value(*value) : preset != nullptr ? *preset : Value(0.0);
}

Value abs_filter(Budget&, const Value& subject, const Arguments& arguments) {
  bind("abs", arguments, {});
  const auto value = number(subject);
  if (!value) raise("abs needs a number, got {}", type_name(subject));
  if (!value->is_int) return std::abs(value->d);
  return value->i < 0 ? negative(subject) : Value(value->i);
}

Value round_filter(Budget&, const Value& subject, const Arguments& arguments) {
  const auto given = bind("round", arguments, {"precision", "method"});
  const auto value = number(subject);
  if (!value) raise("round needs a number, got {}", type_name(subject));
  const std::int64_t precision = given[0] != nullptr ? integer(*given[0], "the precision") : 0;
  if (precision < 0) raise("round: a precision below 0 is not supported");
  const std::string method =
      given[1] != nullptr && given[1]->text() != nullptr ? *given[1]->text() : "common";
  if (method == "common" && (given[1] == nullptr || given[1]->text() != nullptr)) {
    if (value->is_int) return value->i;
    if (!std::isfinite(value->d) || precision > 323) return value->d;
    return *parse_float(fmt::format("{:.{}f}", value->d, static_cast<int>(precision)));
  }
  if (method != "ceil" && method != "floor") raise("round: there is no method {}", method);
  if (precision > 15) raise("round: a precision over 15 is not supported");
  if (!std::isfinite(value->d)) raise("round: {} has no integer", format_float(value->d));
  if (value->is_int) return value->d;
  const double scale = std::round(std::pow(10.0, static_cast<double>(precision)));
  const double scaled = value->d * scale;
  const double whole = method == "ceil" ? std::ceil(scaled) : std::floor(scaled);
  return (whole == 0 ? 0.0 : whole) / scale;
}

}  // namespace krait::jinja
