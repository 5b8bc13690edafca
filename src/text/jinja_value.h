// What a template computes with: Python's values, as far as templates can see them.
#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace krait::jinja {

/// Why a rendering stopped, in a sentence; whoever walks the tree adds the line.
class Failure : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

template <typename... Args>
[[noreturn]] void raise(fmt::format_string<Args...> format, Args&&... args) {
  throw Failure(fmt::format(format, std::forward<Args>(args)...));
}

/// What a rendering may still do, so that no template runs or grows without end: each operation and
/// each item made costs 1, text 1 for 16 bytes.
class Budget {
 public:
  explicit Budget(std::int64_t steps) : left_(steps) {}
  void charge(std::size_t steps = 1) {
    if (steps > static_cast<std::size_t>(left_)) raise("the template takes too many steps");
    left_ -= static_cast<std::int64_t>(steps);
  }
  /// The price of text with `bytes` bytes, which may have at most kMaxText.
  void charge_text(std::size_t bytes) {
    if (bytes > kMaxText) raise("a text grows over {} bytes", kMaxText);
    charge(1 + bytes / 16);
  }
  static constexpr std::size_t kMaxText = std::size_t{64} << 20;

 private:
  std::int64_t left_;
};

struct None {};
/// What a name or key without a value is: prints as nothing, fails where it is used.
struct Undefined {
  std::shared_ptr<const std::string> what;  ///< "'x' is undefined"
};
using Text = std::shared_ptr<const std::string>;  ///< valid UTF-8
/// Text behind the filter safe: Python's Markup, which escapes what it is put together with. It
/// prints and compares as text; what would escape is refused.
struct Safe {
  Text text;
};
struct Sequence;
struct Dict;
struct Namespace;
struct Function;
struct Loop;

struct Value {
  using Data =
      std::variant<Undefined, None, bool, std::int64_t, double, Text, std::shared_ptr<Sequence>,
                   std::shared_ptr<const Dict>, std::shared_ptr<Namespace>,
                   std::shared_ptr<const Function>, std::shared_ptr<Loop>, Safe>;
  Data data;

  Value() = default;
  Value(None none) : data(none) {}
  Value(bool value) : data(value) {}
  Value(std::int64_t value) : data(value) {}
  Value(double value) : data(value) {}
  Value(std::string value) : data(std::make_shared<const std::string>(std::move(value))) {}
  Value(std::string_view value) : Value(std::string(value)) {}
  Value(const char* value) : Value(std::string(value)) {}
  template <typename T>
  Value(std::shared_ptr<T> value) : data(std::move(value)) {}

  template <typename T>
  const T* get() const {
    return std::get_if<T>(&data);
  }
  const std::string* text() const {
    if (const Text* text = get<Text>()) return text->get();
    const Safe* safe = get<Safe>();
    return safe != nullptr ? safe->text.get() : nullptr;
  }
  bool is_undefined() const { return get<Undefined>() != nullptr; }
  bool is_none() const { return get<None>() != nullptr; }
};

Value undefined(std::string what);

/// A list, or something else of Python that has items.
struct Sequence {
  enum class Kind { list, tuple, range, generator, keys, values, pairs };
  Kind kind = Kind::list;
  std::vector<Value> items;
  std::size_t used = 0;            ///< generator: the items that are gone
  std::int64_t start, stop, step;  ///< range
  int nesting = 1;
  bool indexed() const { return kind <= Kind::range; }
};

/// In the order in which keys came.
struct Dict {
  std::vector<std::pair<Value, Value>> entries;
  int nesting = 1;
};

struct Namespace {
  std::vector<std::pair<std::string, Value>> attributes;
  const Value* find(std::string_view name) const;
};

struct Arguments {
  std::vector<Value> values;
  std::vector<std::pair<std::string, Value>> named;
};

struct Function {
  enum class Kind { global, method, macro };
  Kind kind;
  std::string name;
  std::function<Value(Budget&, const Arguments&)> call;
  int nesting = 0;  ///< of what a method belongs to
};

/// `loop` inside a for.
struct Loop {
  std::vector<Value> items;
  std::size_t index = 0;
  std::optional<std::vector<Value>> last_changed;
  int nesting = 1;
};

/// How many values are in each other where these are in one. Over 200 are refused, so that code may
/// recurse over values.
int nesting(std::span<const Value> parts);
Value make_sequence(Budget& budget, std::vector<Value> items,
                    Sequence::Kind kind = Sequence::Kind::list);
Value make_dict(Budget& budget, std::vector<std::pair<Value, Value>> entries);
Value make_text(Budget& budget, std::string text);

/// The name of the type in Python.
std::string_view type_name(const Value& value);
bool truth(const Value& value);
bool equal(Budget& budget, const Value& a, const Value& b);
/// Python's a OP b for OP of <, <=, >, >=.
bool ordered(Budget& budget, std::string_view op, const Value& a, const Value& b);
/// A value's place in a dictionary, or null. Fails for keys that Python cannot hash.
const Value* find(Budget& budget, const Dict& dict, const Value& key);
bool hashable(const Value& value);
bool contains(Budget& budget, const Value& container, const Value& item);

/// What `for` sees; a generator is used up.
std::vector<Value> iterate(Budget& budget, const Value& value);
bool iterable(const Value& value);
/// len(), or nothing where Python has none.
std::optional<std::int64_t> length(const Value& value);

/// str() and repr(). What Python prints with an address is refused.
std::string to_text(Budget& budget, const Value& value);
std::string repr(Budget& budget, const Value& value);
std::string format_float(double value);  ///< repr() of a float

/// A bool, int or float as a number.
struct Number {
  bool is_int;
  std::int64_t i;
  double d;  ///< of an int too
};
std::optional<Number> number(const Value& value);
/// An int or bool, as an index or a count. Fails for anything else, naming `what`.
std::int64_t integer(const Value& value, std::string_view what);

/// The arguments of a call in the order of `names`; null where one is missing.
std::vector<const Value*> bind(std::string_view function, const Arguments& arguments,
                               std::initializer_list<std::string_view> names,
                               std::size_t required = 0);

}  // namespace krait::jinja
