// Arithmetic, subscripts and slices with the results of Python, or an error where Python's
// integers would grow beyond 64 bits.
#include <algorithm>
#include <cmath>

#include "text/jinja_library.h"
#include "text/jinja_text.h"

namespace krait::jinja {
namespace {

[[noreturn]] void overflow() { raise("an integer grows beyond 64 bits"); }

[[noreturn]] void not_for(std::string_view op, const Value& a, const Value& b) {
  for (const Value* value : {&a, &b}) {
    if (const auto* nothing = value->get<Undefined>()) raise("{}", *nothing->what);
  }
  raise("{} does not work with {} and {}", op, type_name(a), type_name(b));
}

/// An integer as a float, where Python rounds once and this must be exact.
double exact(const Number& number) {
  if (number.is_int && std::abs(number.d) > 0x1p53) raise("an integer is too large to be divided");
  return number.d;
}

std::int64_t floor_divide(std::int64_t a, std::int64_t b) {
  const std::int64_t quotient = a / b;
  return a % b != 0 && (a < 0) != (b < 0) ? quotient - 1 : quotient;
}

std::int64_t modulo(std::int64_t a, std::int64_t b) {
  const std::int64_t rest = a % b;
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

/// The rest has the sign of the divisor.
double modulo(double a, double b) {
  const double rest = std::fmod(a, b);
  if (rest == 0) return std::copysign(0.0, b);
  return (rest < 0) != (b < 0) ? rest + b : rest;
}

double floor_divide(double a, double b) {
  double rest = std::fmod(a, b);
  double quotient = (a - rest) / b;
  if (rest != 0 && (rest < 0) != (b < 0)) quotient -= 1;
  if (quotient == 0) return std::copysign(0.0, a / b);
  const double whole = std::floor(quotient);
  return quotient - whole > 0.5 ? whole + 1 : whole;
}

/// jinja2 writes a negative base into Python without brackets where it can compute it beforehand,
/// so that the sign of the result depends on what else it could compute.
Value power(Budget& budget, const Number& a, const Number& b) {
  if (std::signbit(a.d)) raise("powers of negative numbers are not supported");
  if (a.is_int && b.is_int && b.i >= 0) {
    std::int64_t result = 1;
    if (a.i == 0 || a.i == 1) return b.i == 0 ? std::int64_t{1} : a.i;
    for (std::int64_t i = 0; i < b.i; ++i) {
      budget.charge();
      if (__builtin_mul_overflow(result, a.i, &result)) overflow();
    }
    return result;
  }
  if (a.d == 0 && b.d < 0) raise("0 has no negative powers");
  const double result = std::pow(exact(a), exact(b));
  if (std::isinf(result) && std::isfinite(a.d) && std::isfinite(b.d)) {
    raise("a power is too large for a float");
  }
  return result;
}

Value of_integers(std::string_view op, std::int64_t a, std::int64_t b) {
  std::int64_t result = 0;
  if (op == "+"   ? __builtin_add_overflow(a, b, &result)
      : op == "-" ? __builtin_sub_overflow(a, b, &result)
      : op == "*" ? __builtin_mul_overflow(a, b, &result)
                  : false) {
    overflow();
  }
  if (op == "//" || op == "%") {
    if (b == -1) {  // the one quotient that could overflow
      if (op == "%") return std::int64_t{0};
      if (__builtin_sub_overflow(std::int64_t{0}, a, &result)) overflow();
      return result;
    }
    result = op == "//" ? floor_divide(a, b) : modulo(a, b);
  }
  return result;
}

Value of_numbers(Budget& budget, std::string_view op, const Number& a, const Number& b) {
  if (op == "**") return power(budget, a, b);
  if ((op == "/" || op == "//" || op == "%") && b.d == 0) raise("division by zero");
  if (op == "/") return exact(a) / exact(b);
  if (a.is_int && b.is_int) return of_integers(op, a.i, b.i);
  if (op == "+") return a.d + b.d;
  if (op == "-") return a.d - b.d;
  if (op == "*") return a.d * b.d;
  return op == "%" ? modulo(a.d, b.d) : floor_divide(a.d, b.d);
}

/// A list or tuple, else null.
const Sequence* list_of(const Value& value) {
  const auto* sequence = value.get<std::shared_ptr<Sequence>>();
  return sequence != nullptr && (*sequence)->kind <= Sequence::Kind::tuple ? sequence->get()
                                                                           : nullptr;
}

Value repeated(Budget& budget, const Value& what, const Value& times) {
  const auto count = static_cast<std::size_t>(std::max<std::int64_t>(0, integer(times, "a count")));
  if (const std::string* text = what.text()) {
    if (!text->empty() && count > Budget::kMaxText / text->size())
      budget.charge_text(~std::size_t{0});
    std::string all;
    for (std::size_t i = 0; i < count && !text->empty(); ++i) all += *text;
    return make_text(budget, std::move(all));
  }
  const Sequence& list = *list_of(what);
  std::vector<Value> items;
  for (std::size_t i = 0; i < count && !list.items.empty(); ++i) {
    budget.charge(list.items.size());
    items.insert(items.end(), list.items.begin(), list.items.end());
  }
  return make_sequence(budget, std::move(items), list.kind);
}

std::optional<std::int64_t> bound(const Value& value) {
  if (value.is_none()) return std::nullopt;
  if (const auto* nothing = value.get<Undefined>()) raise("a slice: {}", *nothing->what);
  return integer(value, "the bound of a slice");
}

/// What [start:stop:step] takes of `size` items: from `begin` up or down to before `end`.
struct Slice {
  std::int64_t begin, end, step;

  std::vector<std::size_t> indices() const {
    std::vector<std::size_t> all;
    for (std::int64_t i = begin; step > 0 ? i < end : i > end;) {
      all.push_back(static_cast<std::size_t>(i));
      if (__builtin_add_overflow(i, step, &i)) break;
    }
    return all;
  }
};

Slice slice_of(std::int64_t size, const Value& start, const Value& stop, const Value& step) {
  const std::int64_t by = bound(step).value_or(1);
  if (by == 0) raise("the step of a slice is 0");
  const std::int64_t low = by > 0 ? 0 : -1, high = by > 0 ? size : size - 1;
  const auto clamp = [&](std::optional<std::int64_t> at, std::int64_t without) {
    if (!at) return without;
    return std::clamp(*at < 0 ? *at + size : *at, low, high);
  };
  return {clamp(bound(start), by > 0 ? low : high), clamp(bound(stop), by > 0 ? high : low), by};
}

}  // namespace

Value arithmetic(Budget& budget, std::string_view op, const Value& a, const Value& b) {
  const auto x = number(a), y = number(b);
  if (x && y) return of_numbers(budget, op, *x, *y);
  for (const Value* value : {&a, &b}) {
    if (value->get<Safe>() != nullptr)
      raise("{} with text that is marked as safe is not supported", op);
  }
  if (op == "%" && a.text() != nullptr) raise("formatting text with % is not supported");
  const Sequence *left = list_of(a), *right = list_of(b);
  if (op == "+") {
    if (a.text() != nullptr && b.text() != nullptr) {
      budget.charge_text(a.text()->size() + b.text()->size());
      return *a.text() + *b.text();
    }
    if (left != nullptr && right != nullptr && left->kind == right->kind) {
      budget.charge(left->items.size() + right->items.size());
      std::vector<Value> items = left->items;
      items.insert(items.end(), right->items.begin(), right->items.end());
      return make_sequence(budget, std::move(items), left->kind);
    }
  }
  if (op == "*") {
    if (y && y->is_int && (a.text() != nullptr || left != nullptr)) return repeated(budget, a, b);
    if (x && x->is_int && (b.text() != nullptr || right != nullptr)) return repeated(budget, b, a);
  }
  not_for(op, a, b);
}

Value negative(const Value& a) {
  const auto x = number(a);
  if (!x) not_for("-", a, a);
  if (!x->is_int) return -x->d;
  return of_integers("-", 0, x->i);
}

Value positive(const Value& a) {
  const auto x = number(a);
  if (!x) not_for("+", a, a);
  return x->is_int ? Value(x->i) : Value(x->d);
}

Value slice(Budget& budget, const Value& subject, const Value& start, const Value& stop,
            const Value& step) {
  if (const auto* nothing = subject.get<Undefined>()) raise("{}", *nothing->what);
  if (subject.get<Safe>() != nullptr) raise("parts of text marked as safe are not supported");
  if (const std::string* text = subject.text()) {
    budget.charge(1 + text->size());
    const auto all = characters(*text);
    std::string part;
    for (const std::size_t i :
         slice_of(static_cast<std::int64_t>(all.size()), start, stop, step).indices()) {
      part += all[i];
    }
    return make_text(budget, std::move(part));
  }
  const auto* held = subject.get<std::shared_ptr<Sequence>>();
  if (held == nullptr || !(*held)->indexed()) raise("a {} has no slices", type_name(subject));
  const Sequence& sequence = **held;
  const Slice taken = slice_of(static_cast<std::int64_t>(sequence.items.size()), start, stop, step);
  std::vector<Value> items;
  for (const std::size_t i : taken.indices()) items.push_back(sequence.items[i]);
  Value made = make_sequence(budget, std::move(items), sequence.kind);
  if (sequence.kind == Sequence::Kind::range) {
    Sequence& range = **made.get<std::shared_ptr<Sequence>>();
    const auto at = [&](std::int64_t index) {
      return *arithmetic(budget, "+", sequence.start, arithmetic(budget, "*", index, sequence.step))
                  .get<std::int64_t>();
    };
    range.start = at(taken.begin);
    range.stop = at(taken.end);
    range.step = *arithmetic(budget, "*", sequence.step, taken.step).get<std::int64_t>();
  }
  return made;
}

}  // namespace krait::jinja
