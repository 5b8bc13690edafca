#include "text/jinja_value.h"

#include <algorithm>
#include <cmath>

#include "text/jinja_text.h"

namespace krait::jinja {
namespace {

constexpr int kMaxNesting = 200;

int nesting_of(const Value& value) {
  return std::visit(
      [](const auto& held) {
        if constexpr (requires { held->nesting; }) {
          return held->nesting;
        } else {
          return 0;
        }
      },
      value.data);
}

int checked_nesting(int levels) {
  if (levels > kMaxNesting) raise("values are nested deeper than {} levels", kMaxNesting);
  return levels;
}

/// -1, 0, 1; nothing where one is NaN. Exact, as Python compares ints with floats.
std::optional<int> compare(const Number& a, const Number& b) {
  if (a.is_int && b.is_int) return a.i < b.i ? -1 : a.i > b.i ? 1 : 0;
  if (std::isnan(a.d) || std::isnan(b.d)) return std::nullopt;
  if (a.is_int == b.is_int || std::abs(a.is_int ? b.d : a.d) >= 0x1p63) {
    return a.d < b.d ? -1 : a.d > b.d ? 1 : 0;
  }
  if (b.is_int) return -*compare(b, a);
  const auto whole = static_cast<std::int64_t>(b.d);  // towards zero
  if (a.i != whole) return a.i < whole ? -1 : 1;
  const double rest = b.d - static_cast<double>(whole);
  return rest > 0 ? -1 : rest < 0 ? 1 : 0;
}

template <typename T>
bool holds(std::string_view op, const T& a, const T& b) {
  return op == "<" ? a < b : op == "<=" ? a <= b : op == ">" ? a > b : a >= b;
}

bool same_object(const Value& a, const Value& b) {
  return std::visit(
      [](const auto& x, const auto& y) {
        using X = std::decay_t<decltype(x)>;
        if constexpr (requires { x.get() == nullptr; } &&
                      std::is_same_v<X, std::decay_t<decltype(y)>>) {
          return x.get() == y.get();
        }
        return false;
      },
      a.data, b.data);
}

void check_key(const Value& key) {
  if (!hashable(key)) raise("a {} cannot be a key of a dictionary", type_name(key));
}

/// Of an entry, or how many there are.
std::size_t place_of(Budget& budget, const Dict& dict, const Value& key) {
  const std::string* text = key.text();
  budget.charge(dict.entries.size() / 16);
  for (std::size_t i = 0; i < dict.entries.size(); ++i) {
    const Value& name = dict.entries[i].first;
    const std::string* other = name.text();
    if (text != nullptr ? other != nullptr && *other == *text : equal(budget, name, key)) return i;
  }
  return dict.entries.size();
}

void append_repr(Budget& budget, const Value& value, std::string& out, int depth);

template <typename Items, typename Each>
void append_items(Budget& budget, const Items& items, std::string_view open, std::string_view close,
                  std::string& out, const Each& each) {
  out += open;
  bool first = true;
  for (const auto& item : items) {
    budget.charge();
    if (!first) out += ", ";
    first = false;
    each(item);
    if (out.size() > Budget::kMaxText) budget.charge_text(out.size());
  }
  out += close;
}

void append_sequence(Budget& budget, const Sequence& sequence, std::string& out, int depth) {
  using enum Sequence::Kind;
  const auto items = [&](std::string_view open, std::string_view close) {
    append_items(budget, sequence.items, open, close, out,
                 [&](const Value& item) { append_repr(budget, item, out, depth + 1); });
  };
  switch (sequence.kind) {
    case list:
      return items("[", "]");
    case tuple:
      return items("(", sequence.items.size() == 1 ? ",)" : ")");
    case keys:
      return items("dict_keys([", "])");
    case values:
      return items("dict_values([", "])");
    case pairs:
      return items("dict_items([", "])");
    case generator:
      raise("a generator has no text: use the filter list or join");
    case range:
      out += sequence.step == 1
                 ? fmt::format("range({}, {})", sequence.start, sequence.stop)
                 : fmt::format("range({}, {}, {})", sequence.start, sequence.stop, sequence.step);
  }
}

void append_repr(Budget& budget, const Value& value, std::string& out, int depth) {
  budget.charge();
  checked_nesting(depth);  // a namespace can hold itself
  if (value.is_undefined()) {
    out += "Undefined";
  } else if (value.is_none()) {
    out += "None";
  } else if (const auto* boolean = value.get<bool>()) {
    out += *boolean ? "True" : "False";
  } else if (const auto* integer = value.get<std::int64_t>()) {
    out += std::to_string(*integer);
  } else if (const auto* real = value.get<double>()) {
    out += format_float(*real);
  } else if (const std::string* text = value.text()) {
    if (value.get<Safe>() != nullptr) raise("repr() of text marked as safe is not supported");
    budget.charge_text(text->size());
    out += quoted(*text);
  } else if (const auto* sequence = value.get<std::shared_ptr<Sequence>>()) {
    append_sequence(budget, **sequence, out, depth);
  } else if (const auto* dict = value.get<std::shared_ptr<const Dict>>()) {
    append_items(budget, (*dict)->entries, "{", "}", out, [&](const auto& entry) {
      append_repr(budget, entry.first, out, depth + 1);
      out += ": ";
      append_repr(budget, entry.second, out, depth + 1);
    });
  } else if (const auto* space = value.get<std::shared_ptr<Namespace>>()) {
    append_items(budget, (*space)->attributes, "<Namespace {", "}>", out, [&](const auto& entry) {
      out += quoted(entry.first) + ": ";
      append_repr(budget, entry.second, out, depth + 1);
    });
  } else if (const auto* function = value.get<std::shared_ptr<const Function>>();
             function != nullptr && (*function)->kind == Function::Kind::macro) {
    const std::string& name = (*function)->name;
    out += "<Macro " + (name.empty() ? "anonymous" : quoted(name)) + ">";
  } else {
    raise("a {} has no text", type_name(value));
  }
}

}  // namespace

int nesting(std::span<const Value> parts) {
  int levels = 0;
  for (const Value& part : parts) levels = std::max(levels, nesting_of(part));
  return checked_nesting(levels + 1);
}

Value undefined(std::string what) {
  Value value;
  value.data = Undefined{std::make_shared<const std::string>(std::move(what))};
  return value;
}

const Value* Namespace::find(std::string_view name) const {
  for (const auto& [key, value] : attributes) {
    if (key == name) return &value;
  }
  return nullptr;
}

Value make_sequence(Budget& budget, std::vector<Value> items, Sequence::Kind kind) {
  budget.charge(1 + items.size());
  auto sequence = std::make_shared<Sequence>();
  sequence->nesting = nesting(items);
  sequence->kind = kind;
  sequence->items = std::move(items);
  return sequence;
}

Value make_dict(Budget& budget, std::vector<std::pair<Value, Value>> entries) {
  budget.charge(1 + entries.size());
  auto dict = std::make_shared<Dict>();
  for (auto& [key, value] : entries) {
    check_key(key);
    dict->nesting = std::max({dict->nesting, nesting({&key, 1}), nesting({&value, 1})});
    const std::size_t place = place_of(budget, *dict, key);
    if (place < dict->entries.size()) {
      dict->entries[place].second = std::move(value);
    } else {
      dict->entries.emplace_back(std::move(key), std::move(value));
    }
  }
  return std::shared_ptr<const Dict>(std::move(dict));
}

Value make_text(Budget& budget, std::string text) {
  budget.charge_text(text.size());
  return text;
}

std::string_view type_name(const Value& value) {
  constexpr std::string_view kNames[] = {"Undefined", "NoneType", "bool",        "int",
                                         "float",     "str",      "list",        "dict",
                                         "Namespace", "function", "LoopContext", "Markup"};
  if (const auto* sequence = value.get<std::shared_ptr<Sequence>>()) {
    constexpr std::string_view kKinds[] = {"list",      "tuple",       "range",     "generator",
                                           "dict_keys", "dict_values", "dict_items"};
    return kKinds[static_cast<int>((*sequence)->kind)];
  }
  return kNames[value.data.index()];
}

bool truth(const Value& value) {
  if (value.is_undefined() || value.is_none()) return false;
  if (const auto* boolean = value.get<bool>()) return *boolean;
  if (const auto n = number(value)) return n->d != 0;
  const auto size = length(value);
  return !size || *size != 0;
}

bool equal(Budget& budget, const Value& a, const Value& b) {
  budget.charge();
  const auto x = number(a), y = number(b);
  if (x && y) return compare(*x, *y) == 0;
  if (const std::string* left = a.text(), *right = b.text(); left != nullptr && right != nullptr) {
    budget.charge(left->size() / 64);
    return *left == *right;
  }
  if (a.data.index() != b.data.index()) return false;
  if (a.is_undefined() || a.is_none()) return true;
  if (same_object(a, b)) return true;
  if (const auto* sequence = a.get<std::shared_ptr<Sequence>>()) {
    const Sequence& left = **sequence;
    const Sequence& right = **b.get<std::shared_ptr<Sequence>>();
    if (!left.indexed() && left.kind != Sequence::Kind::generator && left.kind == right.kind) {
      raise("comparing {} is not supported", type_name(a));
    }
    if (left.kind != right.kind || !left.indexed() || left.items.size() != right.items.size()) {
      return false;
    }
    for (std::size_t i = 0; i < left.items.size(); ++i) {
      if (!equal(budget, left.items[i], right.items[i])) return false;
    }
    return true;
  }
  if (const auto* dict = a.get<std::shared_ptr<const Dict>>()) {
    const Dict& right = **b.get<std::shared_ptr<const Dict>>();
    if ((*dict)->entries.size() != right.entries.size()) return false;
    for (const auto& [key, value] : (*dict)->entries) {
      const Value* other = find(budget, right, key);
      if (other == nullptr || !equal(budget, value, *other)) return false;
    }
    return true;
  }
  if (const auto* function = a.get<std::shared_ptr<const Function>>();
      function != nullptr && (*function)->kind == Function::Kind::method) {
    raise("comparing methods is not supported");
  }
  return false;
}

bool ordered(Budget& budget, std::string_view op, const Value& a, const Value& b) {
  budget.charge();
  const auto x = number(a), y = number(b);
  if (x && y) {
    const auto order = compare(*x, *y);
    return order && holds(op, *order, 0);
  }
  if (a.text() != nullptr && b.text() != nullptr) {
    budget.charge(a.text()->size() / 64);
    return holds(op, *a.text(), *b.text());  // the order of UTF-8 is that of code points
  }
  const auto* left = a.get<std::shared_ptr<Sequence>>();
  const auto* right = b.get<std::shared_ptr<Sequence>>();
  if (left != nullptr && right != nullptr && (*left)->kind == (*right)->kind &&
      (*left)->kind <= Sequence::Kind::tuple) {
    const auto &i = (*left)->items, &j = (*right)->items;
    for (std::size_t at = 0; at < std::min(i.size(), j.size()); ++at) {
      if (!equal(budget, i[at], j[at])) return ordered(budget, op, i[at], j[at]);
    }
    return holds(op, i.size(), j.size());
  }
  for (const Value* value : {&a, &b}) {
    if (const auto* nothing = value->get<Undefined>()) raise("{}", *nothing->what);
  }
  raise("'{}' does not compare {} with {}", op, type_name(a), type_name(b));
}

bool hashable(const Value& value) {
  if (value.get<std::shared_ptr<const Dict>>() != nullptr) return false;
  const auto* sequence = value.get<std::shared_ptr<Sequence>>();
  if (sequence == nullptr) return true;
  if ((*sequence)->kind == Sequence::Kind::tuple) {
    return std::all_of((*sequence)->items.begin(), (*sequence)->items.end(), hashable);
  }
  return (*sequence)->kind == Sequence::Kind::range ||
         (*sequence)->kind == Sequence::Kind::generator ||
         (*sequence)->kind == Sequence::Kind::values;
}

const Value* find(Budget& budget, const Dict& dict, const Value& key) {
  const std::size_t place = place_of(budget, dict, key);
  return place < dict.entries.size() ? &dict.entries[place].second : nullptr;
}

bool contains(Budget& budget, const Value& container, const Value& item) {
  if (const std::string* text = container.text()) {
    if (item.text() == nullptr) raise("'in' a text needs a text, got {}", type_name(item));
    budget.charge_text(text->size());
    return text->find(*item.text()) != std::string::npos;
  }
  if (const auto* dict = container.get<std::shared_ptr<const Dict>>()) {
    check_key(item);
    return find(budget, **dict, item) != nullptr;
  }
  if (const auto* held = container.get<std::shared_ptr<Sequence>>()) {
    Sequence& sequence = **held;
    const auto* tuple = item.get<std::shared_ptr<Sequence>>();
    const Value* key = sequence.kind == Sequence::Kind::keys ? &item
                       : sequence.kind == Sequence::Kind::pairs && tuple != nullptr &&
                               (*tuple)->kind == Sequence::Kind::tuple &&
                               (*tuple)->items.size() == 2
                           ? &(*tuple)->items[0]
                           : nullptr;
    if (key != nullptr) check_key(*key);
    for (std::size_t i = sequence.used; i < sequence.items.size(); ++i) {
      if (sequence.kind == Sequence::Kind::generator) sequence.used = i + 1;
      if (equal(budget, sequence.items[i], item)) return true;
    }
    return false;
  }
  if (container.is_undefined()) return false;
  raise("'in' needs a container, got {}", type_name(container));
}

std::vector<Value> iterate(Budget& budget, const Value& value) {
  if (value.is_undefined()) return {};
  if (const auto* held = value.get<std::shared_ptr<Sequence>>()) {
    Sequence& sequence = **held;
    budget.charge(1 + sequence.items.size() - sequence.used);
    const auto begin = sequence.items.begin() + static_cast<std::ptrdiff_t>(sequence.used);
    if (sequence.kind == Sequence::Kind::generator) sequence.used = sequence.items.size();
    return {begin, sequence.items.end()};
  }
  std::vector<Value> items;
  if (const auto* dict = value.get<std::shared_ptr<const Dict>>()) {
    budget.charge(1 + (*dict)->entries.size());
    for (const auto& [key, _] : (*dict)->entries) items.push_back(key);
  } else if (const std::string* text = value.text()) {
    budget.charge(4 * text->size());
    for (const std::string_view character : characters(*text)) items.emplace_back(character);
  } else {
    raise("{} has no items to go over", type_name(value));
  }
  return items;
}

bool iterable(const Value& value) {
  if (value.get<std::shared_ptr<Loop>>() != nullptr) raise("'loop' itself is not a value here");
  return value.is_undefined() || length(value) || value.get<std::shared_ptr<Sequence>>() != nullptr;
}

std::optional<std::int64_t> length(const Value& value) {
  if (value.is_undefined()) return 0;
  if (const std::string* text = value.text()) return count_characters(*text);
  if (const auto* dict = value.get<std::shared_ptr<const Dict>>()) {
    return static_cast<std::int64_t>((*dict)->entries.size());
  }
  if (const auto* sequence = value.get<std::shared_ptr<Sequence>>();
      sequence != nullptr && (*sequence)->kind != Sequence::Kind::generator) {
    return static_cast<std::int64_t>((*sequence)->items.size());
  }
  if (const auto* loop = value.get<std::shared_ptr<Loop>>()) {
    return static_cast<std::int64_t>((*loop)->items.size());
  }
  return std::nullopt;
}

std::string to_text(Budget& budget, const Value& value) {
  if (value.is_undefined()) return {};
  if (const std::string* text = value.text()) {
    budget.charge_text(text->size());
    return *text;
  }
  return repr(budget, value);
}

std::string repr(Budget& budget, const Value& value) {
  std::string out;
  append_repr(budget, value, out, 0);
  budget.charge_text(out.size());
  return out;
}

std::string format_float(double value) {
  std::string text = fmt::format("{}", value);
  if (text == "-nan") return "nan";
  if (text.find_first_of(".einf") == std::string::npos) text += ".0";
  return text;
}

std::optional<Number> number(const Value& value) {
  if (const auto* boolean = value.get<bool>()) return Number{true, *boolean, *boolean ? 1.0 : 0.0};
  if (const auto* integer = value.get<std::int64_t>()) {
    return Number{true, *integer, static_cast<double>(*integer)};
  }
  if (const auto* real = value.get<double>()) return Number{false, 0, *real};
  return std::nullopt;
}

std::int64_t integer(const Value& value, std::string_view what) {
  const auto n = number(value);
  if (!n || !n->is_int) raise("{} must be an integer, got {}", what, type_name(value));
  return n->i;
}

std::vector<const Value*> bind(std::string_view function, const Arguments& arguments,
                               std::initializer_list<std::string_view> names,
                               std::size_t required) {
  std::vector<const Value*> bound(names.size());
  if (arguments.values.size() > names.size()) {
    raise("{}() takes at most {} arguments, got {}", function, names.size(),
          arguments.values.size());
  }
  for (std::size_t i = 0; i < arguments.values.size(); ++i) bound[i] = &arguments.values[i];
  for (const auto& [name, value] : arguments.named) {
    const auto* at = std::find(names.begin(), names.end(), name);
    if (at == names.end()) raise("{}() has no argument '{}'", function, name);
    const Value*& place = bound[static_cast<std::size_t>(at - names.begin())];
    if (place != nullptr) raise("{}() got its argument '{}' twice", function, name);
    place = &value;
  }
  for (std::size_t i = 0; i < required; ++i) {
    if (bound[i] == nullptr) raise("{}() needs its argument '{}'", function, names.begin()[i]);
  }
  return bound;
}

}  // namespace krait::jinja
