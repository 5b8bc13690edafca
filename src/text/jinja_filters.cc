// Filters of Jinja that templates of chats use.
#include <algorithm>
#include <cmath>
#include <map>

#include "text/jinja_library.h"
#include "text/jinja_numbers.h"
#include "text/jinja_text.h"

namespace krait::jinja {
namespace {

bool flag(const Value* value) { return value != nullptr && truth(*value); }

// --- text

/// What is done to text marked as safe would keep its mark.
const Value& unmarked(const Value& value) {
  if (value.get<Safe>() != nullptr) raise("changing text that is marked as safe is not supported");
  return value;
}

template <std::string (*change)(std::string_view)>
Value change_case(Budget& budget, const Value& subject, const Arguments& arguments) {
  bind("a filter of case", arguments, {});
  const std::string text = to_text(budget, unmarked(subject));
  budget.charge(text.size());
  return make_text(budget, change(text));
}

/// Words begin behind white space, "-" and opening brackets.
std::string title_words(std::string_view text) {
  std::string out, piece;
  bool in_gap = false;
  const auto finish = [&] {
    if (piece.empty()) return;
    const std::size_t first = characters(piece)[0].size();
    out += upper(std::string_view(piece).substr(0, first)) +
           lower(std::string_view(piece).substr(first));
    piece.clear();
  };
  for (const std::string_view character : characters(text)) {
    const bool gap = std::string_view("-({[<").find(character) != std::string_view::npos ||
                     strip(character, Side::left).empty();
    if (gap != in_gap) finish();
    in_gap = gap;
    piece += character;
  }
  finish();
  return out;
}

Value trim(Budget& budget, const Value& subject, const Arguments& arguments) {
  const Value* unwanted = bind("trim", arguments, {"chars"})[0];
  const std::string text = to_text(budget, unmarked(subject));
  if (unwanted == nullptr || unwanted->is_none()) return strip(text, Side::both);
  if (unwanted->text() == nullptr) raise("trim() needs a text, got {}", type_name(*unwanted));
  return strip(text, Side::both, *unwanted->text());
}

Value replace_filter(Budget& budget, const Value& subject, const Arguments& arguments) {
  const auto given = bind("replace", arguments, {"old", "new", "count"}, 2);
  const bool limited = given[2] != nullptr && !given[2]->is_none();
  const std::string text = to_text(budget, subject), from = to_text(budget, *given[0]),
                    to = to_text(budget, *given[1]);
  const auto parts = static_cast<std::size_t>(count_parts(text, from));
  if (!to.empty() && parts > Budget::kMaxText / to.size()) budget.charge_text(~std::size_t{0});
  return make_text(budget, replace(text, from, to, limited ? integer(*given[2], "count") : -1));
}

Value indent(Budget& budget, const Value& subject, const Arguments& arguments) {
  const auto given = bind("indent", arguments, {"width", "first", "blank"});
  if (unmarked(subject).text() == nullptr) raise("indent needs a text, got {}", type_name(subject));
  std::string space(4, ' ');
  if (given[0] != nullptr && given[0]->text() != nullptr) {
    space = *given[0]->text();
  } else if (given[0] != nullptr) {
    const auto width = std::max<std::int64_t>(0, integer(*given[0], "the width of indent"));
    budget.charge_text(static_cast<std::size_t>(width));
    space.assign(static_cast<std::size_t>(width), ' ');
  }
  const std::string text = *subject.text() + "\n";
  std::string out = flag(given[1]) ? space : "";
  bool first = true;
  for (const std::string_view line : split_lines(text)) {
    if (!first) out += "\n";
    if (!first && (flag(given[2]) || !line.empty())) out += space;
    out += line;
    first = false;
    budget.charge(1 + (space.size() + line.size()) / 16);
    if (out.size() > Budget::kMaxText) budget.charge_text(out.size());
  }
  return out;
}

Value string_filter(Budget& budget, const Value& subject, const Arguments& arguments) {
  bind("string", arguments, {});
  return subject.text() != nullptr ? subject : make_text(budget, to_text(budget, subject));
}

/// Jinja's mark for text that needs no escapes. Nothing is escaped here, so that it prints as ever;
/// what it does to other text is refused where it would matter.
Value safe(Budget& budget, const Value& subject, const Arguments& arguments) {
  bind("safe", arguments, {});
  Value marked;
  marked.data = Safe{std::make_shared<const std::string>(to_text(budget, subject))};
  return marked;
}

// --- what has items

/// A path "a.b.0" as keys; none for none.
std::vector<Value> path(const Value& attribute) {
  if (attribute.is_none()) return {};
  if (attribute.text() == nullptr) return {integer(attribute, "an attribute")};
  std::vector<Value> keys;
  for (const std::string_view part : split(*attribute.text(), ".", -1, false)) {
    const bool is_index = !part.empty() && std::all_of(part.begin(), part.end(),
                                                       [](char c) { return c >= '0' && c <= '9'; });
    const auto index = is_index ? parse_integer(std::string(part)) : std::nullopt;
    keys.push_back(index ? Value(*index) : Value(part));
  }
  return keys;
}

Value follow(Budget& budget, Value value, const std::vector<Value>& keys,
             const Value* preset = nullptr) {
  for (const Value& key : keys) {
    value = item(budget, value, key);
    if (preset != nullptr && !preset->is_none() && value.is_undefined()) value = *preset;
  }
  return value;
}

/// What sort, unique, min and max compare.
Value key_of(Budget& budget, const Value& value, const std::vector<Value>& keys,
             bool case_sensitive) {
  Value key = follow(budget, value, keys);
  if (case_sensitive || key.text() == nullptr) return key;
  budget.charge(key.text()->size());
  return make_text(budget, lower(*key.text()));
}

std::vector<Value> path_argument(const Value* attribute) {
  return attribute != nullptr ? path(*attribute) : std::vector<Value>();
}

std::vector<Value> sorted(Budget& budget, const std::vector<std::pair<Value, Value>>& keyed,
                          bool reverse) {
  std::vector<std::size_t> order(keyed.size());
  for (std::size_t i = 0; i < order.size(); ++i) {
    order[i] = i;
    if (const auto* real = keyed[i].first.get<double>(); real != nullptr && std::isnan(*real)) {
      raise("nan has no place in an order");
    }
  }
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return reverse ? ordered(budget, "<", keyed[b].first, keyed[a].first)
                   : ordered(budget, "<", keyed[a].first, keyed[b].first);
  });
  std::vector<Value> items;
  for (const std::size_t i : order) items.push_back(keyed[i].second);
  return items;
}

Value sort(Budget& budget, const Value& subject, const Arguments& arguments) {
  const auto given = bind("sort", arguments, {"reverse", "case_sensitive", "attribute"});
  std::vector<std::vector<Value>> paths(1);
  if (given[2] != nullptr && given[2]->text() != nullptr) {
    paths.clear();
    for (const std::string_view part : split(*given[2]->text(), ",", -1, false)) {
      paths.push_back(path(part));
    }
  } else {
    paths[0] = path_argument(given[2]);
  }
  std::vector<std::pair<Value, Value>> keyed;
  for (Value& value : iterate(budget, subject)) {
    std::vector<Value> keys;
    for (const auto& way : paths) keys.push_back(key_of(budget, value, way, flag(given[1])));
    keyed.emplace_back(make_sequence(budget, std::move(keys)), std::move(value));
  }
  return make_sequence(budget, sorted(budget, keyed, flag(given[0])));
}

const Dict& dict_of(std::string_view filter, const Value& subject) {
  const auto* dict = subject.get<std::shared_ptr<const Dict>>();
  if (dict == nullptr) raise("{} needs a dictionary, got {}", filter, type_name(subject));
  return **dict;
}

Value pair(Budget& budget, const std::pair<Value, Value>& entry) {
  return make_sequence(budget, {entry.first, entry.second}, Sequence::Kind::tuple);
}

Value dictsort(Budget& budget, const Value& subject, const Arguments& arguments) {
  const auto given = bind("dictsort", arguments, {"case_sensitive", "by", "reverse"});
  const bool by_value = given[1] != nullptr && equal(budget, *given[1], "value");
  if (given[1] != nullptr && !by_value && !equal(budget, *given[1], "key")) {
    raise("dictsort sorts by key or value, not by {}", repr(budget, *given[1]));
  }
  std::vector<std::pair<Value, Value>> keyed;
  for (const auto& entry : dict_of("dictsort", subject).entries) {
    keyed.emplace_back(key_of(budget, by_value ? entry.second : entry.first, {}, flag(given[0])),
                       pair(budget, entry));
  }
  return make_sequence(budget, sorted(budget, keyed, flag(given[2])));
}

Value items_filter(Budget& budget, const Value& subject, const Arguments& arguments) {
  bind("items", arguments, {});
  std::vector<Value> items;
  if (!subject.is_undefined()) {
    for (const auto& entry : dict_of("items", subject).entries)
      items.push_back(pair(budget, entry));
  }
  return make_sequence(budget, std::move(items), Sequence::Kind::generator);
}

Value unique(Budget& budget, const Value& subject, const Arguments& arguments) {
  const auto given = bind("unique", arguments, {"case_sensitive", "attribute"});
  const std::vector<Value> way = path_argument(given[1]);
  std::vector<Value> items, seen;
  for (const Value& value : iterate(budget, subject)) {
    Value key = key_of(budget, value, way, flag(given[0]));
    if (!hashable(key)) raise("unique: a {} cannot be told apart", type_name(key));
    if (std::any_of(seen.begin(), seen.end(),
                    [&](const Value& old) { return equal(budget, old, key); })) {
      continue;
    }
    seen.push_back(std::move(key));
    items.push_back(value);
  }
  return make_sequence(budget, std::move(items), Sequence::Kind::generator);
}

template <bool largest>
Value extreme(Budget& budget, const Value& subject, const Arguments& arguments) {
  const auto given = bind(largest ? "max" : "min", arguments, {"case_sensitive", "attribute"});
  const std::vector<Value> way = path_argument(given[1]);
  std::optional<Value> best;
  Value best_key;
  for (const Value& value : iterate(budget, subject)) {
    Value key = key_of(budget, value, way, flag(given[0]));
    if (best && !ordered(budget, largest ? ">" : "<", key, best_key)) continue;
    best = value;
    best_key = std::move(key);
  }
  return best ? *best : undefined("there is no least or largest of nothing");
}

Value list_filter(Budget& budget, const Value& subject, const Arguments& arguments) {
  bind("list", arguments, {});
  return make_sequence(budget, iterate(budget, subject));
}

Value length_filter(Budget&, const Value& subject, const Arguments& arguments) {
  bind("length", arguments, {});
  const auto size = length(subject);
  if (!size) raise("a {} has no length", type_name(subject));
  return *size;
}

Value first(Budget& budget, const Value& subject, const Arguments& arguments) {
  bind("first", arguments, {});
  if (const auto* held = subject.get<std::shared_ptr<Sequence>>()) {
    Sequence& sequence = **held;
    if (sequence.used == sequence.items.size()) return undefined("there is no first item");
    const std::size_t at = sequence.used;
    if (sequence.kind == Sequence::Kind::generator) ++sequence.used;
    return sequence.items[at];
  }
  const std::vector<Value> items = iterate(budget, subject);
  return items.empty() ? undefined("there is no first item") : items.front();
}

bool is_generator(const Value& value) {
  const auto* sequence = value.get<std::shared_ptr<Sequence>>();
  return sequence != nullptr && (*sequence)->kind == Sequence::Kind::generator;
}

Value last(Budget& budget, const Value& subject, const Arguments& arguments) {
  bind("last", arguments, {});
  if (is_generator(subject)) raise("a generator has no last item: use the filter list");
  const std::vector<Value> items = iterate(budget, subject);
  return items.empty() ? undefined("there is no last item") : items.back();
}

Value reverse(Budget& budget, const Value& subject, const Arguments& arguments) {
  bind("reverse", arguments, {});
  std::vector<Value> items = iterate(budget, unmarked(subject));
  std::reverse(items.begin(), items.end());
  if (subject.text() != nullptr) {
    std::string out;
    for (const Value& character : items) out += *character.text();
    return out;
  }
  return make_sequence(budget, std::move(items),
                       is_generator(subject) ? Sequence::Kind::list : Sequence::Kind::generator);
}

Value join(Budget& budget, const Value& subject, const Arguments& arguments) {
  const auto given = bind("join", arguments, {"d", "attribute"});
  const std::string between = given[0] != nullptr ? to_text(budget, *given[0]) : "";
  const std::vector<Value> way = path_argument(given[1]);
  std::string out;
  bool is_first = true;
  for (const Value& value : iterate(budget, subject)) {
    if (!is_first) out += between;
    is_first = false;
    out += to_text(budget, follow(budget, value, way));
    budget.charge(between.size() / 16);
    if (out.size() > Budget::kMaxText) budget.charge_text(out.size());
  }
  return out;
}

Value default_filter(Budget&, const Value& subject, const Arguments& arguments) {
  const auto given = bind("default", arguments, {"default_value", "boolean"});
  if (!subject.is_undefined() && !(flag(given[1]) && !truth(subject))) return subject;
  return given[0] != nullptr ? *given[0] : Value("");
}

// --- filters of filters and tests

Value map(Budget& budget, const Value& subject, const Arguments& arguments) {
  std::vector<Value> items;
  const bool any = truth(subject);
  if (arguments.values.empty()) {
    const auto given = bind("map", arguments, {"attribute", "default"}, 1);
    const std::vector<Value> way = path(*given[0]);
    if (any) {
      for (const Value& value : iterate(budget, subject)) {
        items.push_back(follow(budget, value, way, given[1]));
      }
    }
  } else if (any) {
    const std::string* name = arguments.values[0].text();
    const Filter filter = name != nullptr ? find_filter(*name) : nullptr;
    if (filter == nullptr) raise("map needs the name of a filter");
    const Arguments rest{{arguments.values.begin() + 1, arguments.values.end()}, arguments.named};
    for (const Value& value : iterate(budget, subject))
      items.push_back(filter(budget, value, rest));
  }
  return make_sequence(budget, std::move(items), Sequence::Kind::generator);
}

template <bool wanted, bool of_attribute>
Value select(Budget& budget, const Value& subject, const Arguments& arguments) {
  std::vector<Value> items;
  constexpr std::size_t kName = of_attribute ? 1 : 0;
  const auto& values = arguments.values;
  const bool any = truth(subject);
  if (any && values.size() < kName) raise("selectattr needs an attribute");
  const std::vector<Value> way = any && of_attribute ? path(values[0]) : std::vector<Value>();
  Test test = nullptr;
  Arguments rest;
  if (values.size() > kName) {
    const std::string* name = values[kName].text();
    test = name != nullptr ? find_test(*name) : nullptr;
    if (test == nullptr) raise("select needs the name of a test");
    rest = {{values.begin() + kName + 1, values.end()}, arguments.named};
  }
  if (any) {
    for (const Value& value : iterate(budget, subject)) {
      const Value seen = follow(budget, value, way);
      if ((test != nullptr ? test(budget, seen, rest) : truth(seen)) == wanted)
        items.push_back(value);
    }
  }
  return make_sequence(budget, std::move(items), Sequence::Kind::generator);
}

const std::map<std::string_view, Filter> kFilters = {
    {"abs", abs_filter},
    {"capitalize", change_case<capitalize>},
    {"count", length_filter},
    {"d", default_filter},
    {"default", default_filter},
    {"dictsort", dictsort},
    {"first", first},
    {"float", float_filter},
    {"indent", indent},
    {"int", int_filter},
    {"items", items_filter},
    {"join", join},
    {"last", last},
    {"length", length_filter},
    {"list", list_filter},
    {"lower", change_case<lower>},
    {"map", map},
    {"max", extreme<true>},
    {"min", extreme<false>},
    {"reject", select<false, false>},
    {"rejectattr", select<false, true>},
    {"replace", replace_filter},
    {"reverse", reverse},
    {"round", round_filter},
    {"safe", safe},
    {"select", select<true, false>},
    {"selectattr", select<true, true>},
    {"sort", sort},
    {"string", string_filter},
    {"title", change_case<title_words>},
    {"tojson", to_json},
    {"trim", trim},
    {"unique", unique},
    {"upper", change_case<upper>},
};

}  // namespace

Filter find_filter(std::string_view name) {
  const auto found = kFilters.find(name);
  return found != kFilters.end() ? found->second : nullptr;
}

}  // namespace krait::jinja
