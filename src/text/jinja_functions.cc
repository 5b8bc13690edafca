#include "text/jinja_functions.h"

#include "text/jinja_library.h"

namespace krait::jinja {
namespace {

/// As many numbers as Jinja's sandbox allows.
constexpr std::int64_t kMaxRange = 100'000;

/// The pairs of dict(mapping or pairs, name=value).
std::vector<std::pair<Value, Value>> pairs(Budget& budget, const Arguments& arguments) {
  if (arguments.values.size() > 1) raise("dict() takes one argument without a name");
  std::vector<std::pair<Value, Value>> entries;
  if (!arguments.values.empty()) {
    const Value& from = arguments.values[0];
    if (const auto* nothing = from.get<Undefined>()) raise("{}", *nothing->what);
    if (const auto* dict = from.get<std::shared_ptr<const Dict>>()) {
      entries = (*dict)->entries;
    } else {
      for (const Value& pair : iterate(budget, from)) {
        std::vector<Value> both = iterate(budget, pair);
        if (both.size() != 2) raise("dict() needs pairs, got {} values", both.size());
        entries.emplace_back(std::move(both[0]), std::move(both[1]));
      }
    }
  }
  for (const auto& [name, value] : arguments.named) entries.emplace_back(name, value);
  return entries;
}

}  // namespace

bool is_function(std::string_view name) {
  for (const std::string_view known :
       {"raise_exception", "strftime_now", "range", "dict", "namespace"}) {
    if (name == known) return true;
  }
  return false;
}

Value strftime_now(const Arguments& arguments, const std::optional<std::tm>& now) {
  const auto given = bind("strftime_now", arguments, {"format"}, 1);
  const std::string* format = given[0]->text();
  if (format == nullptr) raise("strftime_now() needs a text, got {}", type_name(*given[0]));
  for (std::size_t i = 0; i + 1 < format->size(); ++i) {
    if ((*format)[i] != '%') continue;
    const char code = (*format)[++i];
    if (std::string_view("aAbBcdHIjmMpSUwWxXyYGuV%").find(code) == std::string_view::npos) {
      raise("strftime_now: %{} is not supported", code);
    }
  }
  std::tm when{};
  if (now) {
    when = *now;
  } else {
    const std::time_t seconds = std::time(nullptr);
    localtime_r(&seconds, &when);
  }
  if (format->empty()) return "";
  if (format->size() > 1000) raise("strftime_now: a format of over 1000 bytes");
  std::string out(16 * format->size() + 64, '\0');
  out.resize(std::strftime(out.data(), out.size(), format->c_str(), &when));
  return out;
}

Value range(Budget& budget, const Arguments& arguments) {
  const auto given = bind("range", arguments, {"/1", "/2", "/3"}, 1);
  auto sequence = std::make_shared<Sequence>();
  sequence->kind = Sequence::Kind::range;
  sequence->start = given[1] != nullptr ? integer(*given[0], "range()") : 0;
  sequence->stop = integer(given[1] != nullptr ? *given[1] : *given[0], "range()");
  sequence->step = given[2] != nullptr ? integer(*given[2], "range()") : 1;
  if (sequence->step == 0) raise("range() with a step of 0");
  const bool up = sequence->step > 0;
  for (std::int64_t i = sequence->start; up ? i < sequence->stop : i > sequence->stop;) {
    budget.charge(2);
    if (static_cast<std::int64_t>(sequence->items.size()) == kMaxRange) {
      raise("a range of over {} numbers", kMaxRange);
    }
    sequence->items.emplace_back(i);
    if (__builtin_add_overflow(i, sequence->step, &i)) break;
  }
  return sequence;
}

Value dict(Budget& budget, const Arguments& arguments) {
  return make_dict(budget, pairs(budget, arguments));
}

}  // namespace krait::jinja
