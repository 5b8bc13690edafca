// Attributes, items and methods of values. Jinja looks x.name up as an attribute of Python's object
// first, so that the methods of a dictionary hide its keys; x["name"] the other way around.
#include <algorithm>
#include <map>

#include "text/jinja_library.h"
#include "text/jinja_text.h"

namespace krait::jinja {
namespace {

using Names = std::vector<std::string_view>;
using Method = Value (*)(Budget&, const Value& subject, const Arguments&);
using Methods = std::map<std::string_view, Method>;

// What Python's objects have, whether it can be called here or not.
const Names kTextNames = {
    "capitalize",   "casefold",    "center",    "count",      "encode",       "endswith",
    "expandtabs",   "find",        "format",    "format_map", "index",        "isalnum",
    "isalpha",      "isascii",     "isdecimal", "isdigit",    "isidentifier", "islower",
    "isnumeric",    "isprintable", "isspace",   "istitle",    "isupper",      "join",
    "ljust",        "lower",       "lstrip",    "maketrans",  "partition",    "removeprefix",
    "removesuffix", "replace",     "rfind",     "rindex",     "rjust",        "rpartition",
    "rsplit",       "rstrip",      "split",     "splitlines", "startswith",   "strip",
    "swapcase",     "title",       "translate", "upper",      "zfill"};
const Names kDictNames = {"copy", "fromkeys", "get", "items", "keys", "values"};
const Names kDictForbidden = {"clear", "pop", "popitem", "setdefault", "update"};
const Names kListNames = {"copy", "count", "index"};
const Names kListForbidden = {"append", "clear",  "extend",  "insert",
                              "pop",    "remove", "reverse", "sort"};
const Names kTupleNames = {"count", "index"};
const Names kRangeNames = {"count", "index", "start", "step", "stop"};
const Names kGeneratorNames = {"close",        "gi_code",      "gi_frame", "gi_running",
                               "gi_suspended", "gi_yieldfrom", "send",     "throw"};
const Names kViewNames = {"isdisjoint", "mapping"};
const Names kNumberNames = {
    "as_integer_ratio", "bit_count", "bit_length", "conjugate", "denominator",
    "from_bytes",       "fromhex",   "hex",        "imag",      "is_integer",
    "numerator",        "real",      "to_bytes"};
const Names kMacroNames = {"arguments",     "caller",          "catch_kwargs",
                           "catch_varargs", "explicit_caller", "name"};

bool among(const Names& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// --- of text

const std::string& text_argument(std::string_view method, const Value& value) {
  const std::string* text = value.text();
  if (text == nullptr) raise("{}() needs a text, got {}", method, type_name(value));
  return *text;
}

template <Side side>
Value strip_method(Budget& budget, const Value& subject, const Arguments& arguments) {
  const auto unwanted = bind("strip", arguments, {"chars"});
  budget.charge_text(subject.text()->size());
  if (unwanted[0] == nullptr || unwanted[0]->is_none()) return strip(*subject.text(), side);
  return strip(*subject.text(), side, text_argument("strip", *unwanted[0]));
}

template <bool from_right>
Value split_method(Budget& budget, const Value& subject, const Arguments& arguments) {
  const auto given = bind("split", arguments, {"sep", "maxsplit"});
  std::optional<std::string_view> separator;
  if (given[0] != nullptr && !given[0]->is_none()) {
    separator = text_argument("split", *given[0]);
    if (separator->empty()) raise("split() at an empty separator");
  }
  const std::int64_t most = given[1] != nullptr ? integer(*given[1], "maxsplit") : -1;
  budget.charge_text(subject.text()->size());
  std::vector<Value> items;
  for (const std::string_view part : split(*subject.text(), separator, most, from_right)) {
    budget.charge();
    items.emplace_back(part);
  }
  return make_sequence(budget, std::move(items));
}

Value splitlines_method(Budget& budget, const Value& subject, const Arguments& arguments) {
  const auto given = bind("splitlines", arguments, {"keepends"});
  const bool keep = given[0] != nullptr && integer(*given[0], "keepends") != 0;
  budget.charge_text(subject.text()->size());
  std::vector<Value> items;
  for (const std::string_view line : split_lines(*subject.text(), keep)) {
    budget.charge();
    items.emplace_back(line);
  }
  return make_sequence(budget, std::move(items));
}

template <bool at_start>
Value affix_method(Budget& budget, const Value& subject, const Arguments& arguments) {
  constexpr std::string_view kName = at_start ? "startswith" : "endswith";
  const Value& affix = *bind(kName, arguments, {"/affix"}, 1)[0];
  const std::string& text = *subject.text();
  const auto matches = [&](const Value& part) {
    budget.charge();
    const std::string& expected = text_argument(kName, part);
    return at_start ? text.starts_with(expected) : text.ends_with(expected);
  };
  const auto* several = affix.get<std::shared_ptr<Sequence>>();
  if (several == nullptr || (*several)->kind != Sequence::Kind::tuple) return matches(affix);
  return std::any_of((*several)->items.begin(), (*several)->items.end(), matches);
}

template <bool at_start>
Value remove_affix_method(Budget& budget, const Value& subject, const Arguments& arguments) {
  const auto& affix =
      text_argument("removeprefix", *bind("removeprefix", arguments, {"/affix"}, 1)[0]);
  std::string_view text = *subject.text();
  budget.charge_text(text.size());
  if (at_start && text.starts_with(affix)) text.remove_prefix(affix.size());
  if (!at_start && text.ends_with(affix)) text.remove_suffix(affix.size());
  return text;
}

template <std::string (*change)(std::string_view)>
Value change_method(Budget& budget, const Value& subject, const Arguments& arguments) {
  bind("a change of case", arguments, {});
  budget.charge(subject.text()->size());
  return make_text(budget, change(*subject.text()));
}

Value replace_method(Budget& budget, const Value& subject, const Arguments& arguments) {
  const auto given = bind("replace", arguments, {"/old", "/new", "/count"}, 2);
  const std::string& from = text_argument("replace", *given[0]);
  const std::string& to = text_argument("replace", *given[1]);
  const std::int64_t most = given[2] != nullptr ? integer(*given[2], "count") : -1;
  const auto parts = static_cast<std::size_t>(count_parts(*subject.text(), from));
  budget.charge_text(subject.text()->size());
  if (!to.empty() && parts > Budget::kMaxText / to.size()) budget.charge_text(~std::size_t{0});
  return make_text(budget, replace(*subject.text(), from, to, most));
}

/// Of a part in code points, or -1.
template <bool from_right>
std::int64_t place(Budget& budget, const Value& subject, const Arguments& arguments) {
  const auto& part = text_argument("find", *bind("find", arguments, {"/sub"}, 1)[0]);
  const std::string& text = *subject.text();
  budget.charge_text(text.size());
  const std::size_t found = from_right ? text.rfind(part) : text.find(part);
  return found == std::string::npos ? -1
                                    : count_characters(std::string_view(text).substr(0, found));
}

template <bool from_right>
Value find_method(Budget& budget, const Value& subject, const Arguments& arguments) {
  return place<from_right>(budget, subject, arguments);
}

template <bool from_right>
Value text_index_method(Budget& budget, const Value& subject, const Arguments& arguments) {
  const std::int64_t found = place<from_right>(budget, subject, arguments);
  if (found < 0) raise("index() finds no such text");
  return found;
}

Value text_count_method(Budget& budget, const Value& subject, const Arguments& arguments) {
  budget.charge_text(subject.text()->size());
  return count_parts(*subject.text(),
                     text_argument("count", *bind("count", arguments, {"/sub"}, 1)[0]));
}

Value join_method(Budget& budget, const Value& subject, const Arguments& arguments) {
  std::string out;
  bool first = true;
  for (const Value& item : iterate(budget, *bind("join", arguments, {"/iterable"}, 1)[0])) {
    if (!first) out += *subject.text();
    first = false;
    out += text_argument("join", item);
    budget.charge_text(subject.text()->size() + item.text()->size());
    if (out.size() > Budget::kMaxText) budget.charge_text(out.size());
  }
  return out;
}

const Methods kTextMethods = {
    {"capitalize", change_method<capitalize>},
    {"count", text_count_method},
    {"endswith", affix_method<false>},
    {"find", find_method<false>},
    {"index", text_index_method<false>},
    {"join", join_method},
    {"lower", change_method<lower>},
    {"lstrip", strip_method<Side::left>},
    {"removeprefix", remove_affix_method<true>},
    {"removesuffix", remove_affix_method<false>},
    {"replace", replace_method},
    {"rfind", find_method<true>},
    {"rindex", text_index_method<true>},
    {"rsplit", split_method<true>},
    {"rstrip", strip_method<Side::right>},
    {"split", split_method<false>},
    {"splitlines", splitlines_method},
    {"startswith", affix_method<true>},
    {"strip", strip_method<Side::both>},
    {"title", change_method<title>},
    {"upper", change_method<upper>},
};

// --- of dictionaries and lists

const Dict& dict_of(const Value& value) { return **value.get<std::shared_ptr<const Dict>>(); }
const std::vector<Value>& items_of(const Value& value) {
  return (*value.get<std::shared_ptr<Sequence>>())->items;
}

Value get_method(Budget& budget, const Value& subject, const Arguments& arguments) {
  const auto given = bind("get", arguments, {"/key", "/default"}, 1);
  if (!hashable(*given[0])) raise("a {} cannot be a key of a dictionary", type_name(*given[0]));
  if (const Value* found = find(budget, dict_of(subject), *given[0])) return *found;
  return given[1] != nullptr ? *given[1] : Value(None{});
}

template <Sequence::Kind kind>
Value view_method(Budget& budget, const Value& subject, const Arguments& arguments) {
  bind("keys", arguments, {});
  std::vector<Value> items;
  for (const auto& [key, value] : dict_of(subject).entries) {
    budget.charge();
    items.push_back(kind == Sequence::Kind::keys ? key
                    : kind == Sequence::Kind::values
                        ? value
                        : make_sequence(budget, {key, value}, Sequence::Kind::tuple));
  }
  return make_sequence(budget, std::move(items), kind);
}

Value list_index_method(Budget& budget, const Value& subject, const Arguments& arguments) {
  const Value& wanted = *bind("index", arguments, {"/value"}, 1)[0];
  const auto& items = items_of(subject);
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (equal(budget, items[i], wanted)) return static_cast<std::int64_t>(i);
  }
  raise("index() finds no such item");
}

Value list_count_method(Budget& budget, const Value& subject, const Arguments& arguments) {
  const Value& wanted = *bind("count", arguments, {"/value"}, 1)[0];
  const auto& items = items_of(subject);
  return static_cast<std::int64_t>(std::count_if(
      items.begin(), items.end(), [&](const Value& item) { return equal(budget, item, wanted); }));
}

const Methods kDictMethods = {
    {"get", get_method},
    {"items", view_method<Sequence::Kind::pairs>},
    {"keys", view_method<Sequence::Kind::keys>},
    {"values", view_method<Sequence::Kind::values>},
};
const Methods kListMethods = {{"count", list_count_method}, {"index", list_index_method}};

// --- of loops

std::shared_ptr<const Function> method(std::string_view name, const Value& subject,
                                       std::function<Value(Budget&, const Arguments&)> call) {
  return std::make_shared<const Function>(
      Function{Function::Kind::method, std::string(name), std::move(call), nesting({&subject, 1})});
}

std::optional<Value> loop_attribute(const std::shared_ptr<Loop>& loop, std::string_view name) {
  const auto index = static_cast<std::int64_t>(loop->index);
  const auto size = static_cast<std::int64_t>(loop->items.size());
  if (index == size) raise("a loop that is over is not supported as a value");
  if (name == "index") return index + 1;
  if (name == "index0") return index;
  if (name == "revindex") return size - index;
  if (name == "revindex0") return size - index - 1;
  if (name == "first") return index == 0;
  if (name == "last") return index + 1 == size;
  if (name == "length") return size;
  if (name == "depth") return std::int64_t{1};  // only recursive loops are deeper
  if (name == "depth0") return std::int64_t{0};
  if (name == "previtem") {
    return index > 0 ? loop->items[loop->index - 1] : undefined("there is no previous item");
  }
  if (name == "nextitem") {
    return index + 1 < size ? loop->items[loop->index + 1] : undefined("there is no next item");
  }
  if (name == "cycle") {
    return method(name, loop, [index](Budget&, const Arguments& arguments) {
      if (!arguments.named.empty() || arguments.values.empty()) raise("cycle() needs values");
      return arguments.values[static_cast<std::size_t>(index) % arguments.values.size()];
    });
  }
  if (name == "changed") {
    const std::weak_ptr<Loop> weak = loop;
    return method(name, loop, [weak](Budget& budget, const Arguments& arguments) -> Value {
      bind("changed", {{}, arguments.named}, {});
      const auto held = weak.lock();
      if (!held || held->index == held->items.size()) raise("changed() of a loop that is over");
      const auto now = make_sequence(budget, arguments.values);
      const bool same =
          held->last_changed && equal(budget, make_sequence(budget, *held->last_changed), now);
      if (!same) held->last_changed = arguments.values;
      return !same;
    });
  }
  return std::nullopt;
}

// --- lookups

const Methods* methods_of(const Value& value) {
  if (value.text() != nullptr) return &kTextMethods;
  if (value.get<std::shared_ptr<const Dict>>() != nullptr) return &kDictMethods;
  const auto* sequence = value.get<std::shared_ptr<Sequence>>();
  return sequence != nullptr && (*sequence)->indexed() ? &kListMethods : nullptr;
}

const Names& names_of(const Value& value) {
  static const Names none;
  if (value.text() != nullptr) return kTextNames;
  if (value.get<std::shared_ptr<const Dict>>() != nullptr) return kDictNames;
  if (number(value)) return kNumberNames;
  if (const auto* function = value.get<std::shared_ptr<const Function>>()) {
    return (*function)->kind == Function::Kind::macro    ? kMacroNames
           : (*function)->kind == Function::Kind::global ? kRangeNames
                                                         : none;
  }
  const auto* sequence = value.get<std::shared_ptr<Sequence>>();
  if (sequence == nullptr) return none;
  switch ((*sequence)->kind) {
    case Sequence::Kind::list:
      return kListNames;
    case Sequence::Kind::tuple:
      return kTupleNames;
    case Sequence::Kind::range:
      return kRangeNames;
    case Sequence::Kind::generator:
      return kGeneratorNames;
    default:
      return kViewNames;
  }
}

/// The methods that change a list or dictionary: the sandbox gives nothing for them.
bool is_forbidden(const Value& value, std::string_view name) {
  if (value.get<std::shared_ptr<const Dict>>() != nullptr) return among(kDictForbidden, name);
  const auto* sequence = value.get<std::shared_ptr<Sequence>>();
  return sequence != nullptr && (*sequence)->kind == Sequence::Kind::list &&
         among(kListForbidden, name);
}

/// getattr(): nothing where Python's object has no such attribute.
std::optional<Value> python_attribute(const Value& subject, std::string_view name) {
  if (const auto* space = subject.get<std::shared_ptr<Namespace>>()) {
    const Value* found = (*space)->find(name);
    return found != nullptr ? std::optional(*found) : std::nullopt;
  }
  if (const auto* loop = subject.get<std::shared_ptr<Loop>>()) return loop_attribute(*loop, name);
  if (is_forbidden(subject, name)) return undefined("the sandbox has no " + std::string(name));
  if (!among(names_of(subject), name)) return std::nullopt;
  const Methods* methods = methods_of(subject);
  if (methods == nullptr) raise("{} of a {} is not supported", name, type_name(subject));
  if (subject.get<Safe>() != nullptr) raise("{} of text marked as safe is not supported", name);
  if (name == "start" || name == "stop" || name == "step")
    raise("{} of a range is not supported", name);
  const auto known = methods->find(name);
  if (known == methods->end()) {
    return method(name, subject, [name = std::string(name)](Budget&, const Arguments&) -> Value {
      raise("the method {}() is not supported", name);
    });
  }
  return method(name, subject,
                [subject, run = known->second](Budget& budget, const Arguments& arguments) {
                  return run(budget, subject, arguments);
                });
}

/// subject[key] in Python; nothing where it fails.
std::optional<Value> python_item(Budget& budget, const Value& subject, const Value& key) {
  if (const auto* dict = subject.get<std::shared_ptr<const Dict>>()) {
    const Value* found = hashable(key) ? find(budget, **dict, key) : nullptr;
    return found != nullptr ? std::optional(*found) : std::nullopt;
  }
  const auto index = number(key);
  if (!index || !index->is_int) return std::nullopt;
  const auto size = length(subject);
  if (!size || subject.get<std::shared_ptr<Loop>>() != nullptr) return std::nullopt;
  const std::int64_t at = index->i < 0 ? index->i + *size : index->i;
  if (at < 0 || at >= *size) return std::nullopt;
  if (const std::string* text = subject.text()) {
    if (subject.get<Safe>() != nullptr) raise("parts of text marked as safe are not supported");
    budget.charge(1 + text->size());
    return characters(*text)[static_cast<std::size_t>(at)];
  }
  const Sequence& sequence = **subject.get<std::shared_ptr<Sequence>>();
  if (!sequence.indexed()) return std::nullopt;
  return sequence.items[static_cast<std::size_t>(at)];
}

}  // namespace

bool is_method(std::string_view name) {
  return kTextMethods.contains(name) || kDictMethods.contains(name) ||
         kListMethods.contains(name) || name == "cycle" || name == "changed";
}

Value attribute(Budget& budget, const Value& subject, std::string_view name) {
  budget.charge();
  if (const auto* nothing = subject.get<Undefined>()) raise("{}", *nothing->what);
  if (auto found = python_attribute(subject, name)) return *found;
  if (auto found = python_item(budget, subject, name)) return *found;
  return undefined(fmt::format("a {} without '{}'", type_name(subject), name));
}

Value item(Budget& budget, const Value& subject, const Value& key) {
  budget.charge();
  if (const auto* nothing = subject.get<Undefined>()) raise("{}", *nothing->what);
  if (auto found = python_item(budget, subject, key)) return *found;
  if (const std::string* name = key.text()) {
    if (auto found = python_attribute(subject, *name)) return *found;
    return undefined(fmt::format("a {} without '{}'", type_name(subject), *name));
  }
  return undefined(fmt::format("a {} has no such item", type_name(subject)));
}

}  // namespace krait::jinja
