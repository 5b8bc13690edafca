#include "text/jinja_evaluate.h"

#include <algorithm>

#include "text/jinja_functions.h"
#include "text/jinja_library.h"

namespace krait::jinja {
namespace {

using Node = Expression::Kind;
using Kind = Statement::Kind;

/// Of evaluations in each other, through macros too.
constexpr int kMaxDepth = 600;

/// The names of one body; lookups go on to `outer`.
struct Scope {
  std::shared_ptr<Scope> outer;
  std::vector<std::pair<std::string, Value>> names;

  Value* find(std::string_view name) {
    for (Scope* scope = this; scope != nullptr; scope = scope->outer.get()) {
      for (auto& [known, value] : scope->names) {
        if (known == name) return &value;
      }
    }
    return nullptr;
  }
  void set(const std::string& name, Value value) {
    for (auto& [known, old] : names) {
      if (known == name) {
        old = std::move(value);
        return;
      }
    }
    names.emplace_back(name, std::move(value));
  }
};
using ScopePtr = std::shared_ptr<Scope>;

ScopePtr inside(const ScopePtr& outer) {
  auto scope = std::make_shared<Scope>();
  scope->outer = outer;
  return scope;
}

enum class Flow { on, stop, next };

class Evaluator {
 public:
  Evaluator(const Limits& limits, const std::optional<std::tm>& now, Budget& budget, int& line)
      : limits_(limits), now_(now), budget_(budget), line_(line) {
    define("raise_exception", [](Budget& spent, const Arguments& arguments) -> Value {
      const auto given = bind("raise_exception", arguments, {"message"}, 1);
      raise("the template refuses: {}", to_text(spent, *given[0]));
    });
    define("strftime_now",
           [this](Budget&, const Arguments& arguments) { return strftime_now(arguments, now_); });
    define("range", range);
    define("dict", dict);
    define("namespace", [this](Budget&, const Arguments& arguments) { return space(arguments); });
  }

  /// Namespaces and what macros close over can hold each other: nothing of them may outlive this.
  ~Evaluator() {
    for (const auto& held : spaces_) held->attributes.clear();
    for (const auto& held : captured_) {
      held->names.clear();
    }
    while (!captured_.empty()) captured_.pop_back();
  }
  Evaluator(const Evaluator&) = delete;
  Evaluator& operator=(const Evaluator&) = delete;

  std::string run(const Body& body, std::vector<std::pair<std::string, Value>> variables) {
    auto given = inside(globals_);
    given->names = std::move(variables);
    std::string out;
    run(body, inside(given), out);
    return out;
  }

 private:
  struct Deeper {
    explicit Deeper(int& counter) : depth(counter) {
      if (++depth > kMaxDepth) raise("calls and expressions are nested deeper than {}", kMaxDepth);
    }
    ~Deeper() { --depth; }
    Deeper(const Deeper&) = delete;
    Deeper& operator=(const Deeper&) = delete;
    int& depth;
  };

  // --- functions

  void define(std::string name, std::function<Value(Budget&, const Arguments&)> call) {
    Function function{Function::Kind::global, name, std::move(call)};
    globals_->set(name, std::make_shared<const Function>(std::move(function)));
  }

  Value space(const Arguments& arguments) {
    auto made = std::make_shared<Namespace>();
    const Value all = dict(budget_, arguments);
    for (const auto& [key, value] : (*all.get<std::shared_ptr<const Dict>>())->entries) {
      if (key.text() == nullptr) raise("namespace() needs names, got a {}", type_name(key));
      if (key.text()->starts_with('_')) raise("a namespace keeps no names with _ before them");
      made->attributes.emplace_back(*key.text(), value);
    }
    spaces_.push_back(made);
    return made;
  }

  Arguments arguments_of(const Expression& node, const ScopePtr& scope) {
    Arguments arguments;
    for (std::size_t i = 1; i < node.parts.size(); ++i) {
      arguments.values.push_back(value_of(*node.parts[i], scope));
    }
    for (const auto& [name, part] : node.named) {
      arguments.named.emplace_back(name, value_of(*part, scope));
    }
    return arguments;
  }

  Value call(const Value& callee, const Arguments& arguments) {
    if (const auto* nothing = callee.get<Undefined>()) raise("{}", *nothing->what);
    const auto* function = callee.get<std::shared_ptr<const Function>>();
    if (function == nullptr) raise("a {} cannot be called", type_name(callee));
    const std::shared_ptr<const Function> held = *function;
    return held->call(budget_, arguments);
  }

  /// A macro, or the body of a {% call %}.
  Value macro(const Statement& statement, const ScopePtr& scope, const std::string& name) {
    captured_.push_back(scope);
    std::weak_ptr<Scope> around = scope;
    return std::make_shared<const Function>(Function{
        Function::Kind::macro, name, [this, &statement, around](Budget&, const Arguments& a) {
          return run_macro(statement, around.lock(), a);
        }});
  }

  Value run_macro(const Statement& statement, const ScopePtr& around, const Arguments& arguments) {
    const Deeper deeper(depth_);
    const int line = line_;
    ScopePtr scope = inside(around);
    auto named = arguments.named;
    const auto take = [&named](std::string_view name) {
      std::optional<Value> found;
      const auto at = std::find_if(named.begin(), named.end(),
                                   [name](const auto& entry) { return entry.first == name; });
      if (at != named.end()) {
        found = std::move(at->second);
        named.erase(at);
      }
      return found;
    };
    const auto& parameters = statement.parameters;
    if (arguments.values.size() > parameters.size()) {
      raise("the macro takes at most {} arguments, got {}", parameters.size(),
            arguments.values.size());
    }
    std::vector<std::optional<Value>> given;
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      given.push_back(i < arguments.values.size() ? std::optional(arguments.values[i])
                                                  : take(parameters[i].name));
    }
    if (statement.takes_caller) {
      scope->set("caller", take("caller").value_or(undefined("the macro has no caller")));
    }
    if (!named.empty()) raise("the macro has no argument '{}'", named[0].first);
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      const auto& [name, preset] = parameters[i];
      scope->set(name, given[i] ? std::move(*given[i])
                       : preset ? value_of(*preset, scope)
                                : undefined(fmt::format("the argument '{}' is missing", name)));
    }
    std::string out;
    run(statement.body, scope, out);
    line_ = line;
    return make_text(budget_, std::move(out));
  }

  // --- statements

  Flow run(const Body& body, const ScopePtr& scope, std::string& out) {
    const Deeper deeper(depth_);
    for (const Statement& statement : body) {
      budget_.charge();
      line_ = statement.line;
      const Flow flow = run(statement, scope, out);
      if (flow != Flow::on) return flow;
    }
    return Flow::on;
  }

  void print(std::string_view text, std::string& out) {
    out += text;
    budget_.charge(text.size() / 16);
    if (out.size() > limits_.bytes) raise("the text grows over {} bytes", limits_.bytes);
  }

  Flow run(const Statement& statement, const ScopePtr& scope, std::string& out) {
    switch (statement.kind) {
      case Kind::text:
        print(statement.text, out);
        break;
      case Kind::output:
        print(to_text(budget_, value_of(*statement.value, scope)), out);
        break;
      case Kind::condition:
        for (const auto& [test, body] : statement.branches) {
          if (!test || truth(value_of(*test, scope))) return run(body, scope, out);
        }
        break;
      case Kind::loop:
        return run_loop(statement, scope, out);
      case Kind::set:
        assign(statement.target, value_of(*statement.value, scope), scope);
        break;
      case Kind::set_body:
        set_to_body(statement, scope);
        break;
      case Kind::macro:
        scope->set(statement.target.name, macro(statement, scope, statement.target.name));
        break;
      case Kind::call:
        print(to_text(budget_, call_with_body(statement, scope)), out);
        break;
      case Kind::block:
        run(statement.body, inside(scope), out);
        break;
      case Kind::stop:
        return Flow::stop;
      case Kind::next:
        return Flow::next;
    }
    return Flow::on;
  }

  void assign(const Target& target, Value value, const ScopePtr& scope) {
    if (!target.attribute.empty()) {
      const Value* held = scope->find(target.name);
      const auto* space = held != nullptr ? held->get<std::shared_ptr<Namespace>>() : nullptr;
      if (space == nullptr) raise("'{}' is not a namespace", target.name);
      auto& attributes = (*space)->attributes;
      const auto known = std::find_if(attributes.begin(), attributes.end(), [&](const auto& entry) {
        return entry.first == target.attribute;
      });
      if (known != attributes.end()) {
        known->second = std::move(value);
      } else {
        budget_.charge(attributes.size());
        attributes.emplace_back(target.attribute, std::move(value));
      }
    } else if (target.parts.empty()) {
      scope->set(target.name, std::move(value));
    } else {
      std::vector<Value> values = iterate(budget_, value);
      if (values.size() != target.parts.size()) {
        raise("{} values for {} names", values.size(), target.parts.size());
      }
      for (std::size_t i = 0; i < values.size(); ++i) {
        assign(target.parts[i], std::move(values[i]), scope);
      }
    }
  }

  void set_to_body(const Statement& statement, const ScopePtr& scope) {
    std::string out;
    const ScopePtr inner = inside(scope);
    run(statement.body, inner, out);
    Value value = make_text(budget_, std::move(out));
    if (statement.filter) value = filtered(*statement.filter, &value, inner);
    assign(statement.target, std::move(value), scope);
  }

  Value call_with_body(const Statement& statement, const ScopePtr& scope) {
    const Expression& node = *statement.value;
    const Value callee = value_of(*node.parts[0], scope);
    Arguments arguments = arguments_of(node, scope);
    arguments.named.emplace_back("caller", macro(statement, scope, ""));
    return call(callee, arguments);
  }

  /// A loop that is over is no value any more: it could hold itself.
  struct End {
    Loop& loop;
    ~End() {
      loop.index = loop.items.size();
      loop.last_changed.reset();
    }
  };

  Flow run_loop(const Statement& statement, const ScopePtr& scope, std::string& out) {
    auto loop = std::make_shared<Loop>();
    loop->items = iterate(budget_, value_of(*statement.value, scope));
    if (statement.filter) {
      std::vector<Value> kept;
      for (Value& item : loop->items) {
        const ScopePtr inner = inside(scope);
        assign(statement.target, item, inner);
        if (truth(value_of(*statement.filter, inner))) kept.push_back(std::move(item));
      }
      loop->items = std::move(kept);
    }
    if (loop->items.empty()) return run(statement.other, inside(scope), out);
    loop->nesting = nesting({loop->items.begin(), loop->items.end()});
    const End end{*loop};
    for (; loop->index < loop->items.size(); ++loop->index) {
      const ScopePtr inner = inside(scope);
      inner->names.emplace_back("loop", loop);
      assign(statement.target, loop->items[loop->index], inner);
      if (run(statement.body, inner, out) == Flow::stop) break;
    }
    return Flow::on;
  }

  // --- expressions

  Value value_of(const Expression& node, const ScopePtr& scope) {
    const Deeper deeper(depth_);
    budget_.charge();
    line_ = node.line;
    const auto part = [&](std::size_t i) { return value_of(*node.parts[i], scope); };
    switch (node.kind) {
      case Node::constant:
        return node.constant;
      case Node::name: {
        const Value* value = scope->find(node.name);
        return value != nullptr ? *value : undefined(fmt::format("'{}' is undefined", node.name));
      }
      case Node::list:
        return make_sequence(budget_, values_of(node, scope));
      case Node::tuple:
        return make_sequence(budget_, values_of(node, scope), Sequence::Kind::tuple);
      case Node::dict:
        return dict_of(node, scope);
      case Node::negative:
        return jinja::negative(part(0));
      case Node::positive:
        return jinja::positive(part(0));
      case Node::negation:
        return !truth(part(0));
      case Node::conjunction: {
        Value left = part(0);
        return truth(left) ? part(1) : left;
      }
      case Node::disjunction: {
        Value left = part(0);
        return truth(left) ? left : part(1);
      }
      case Node::arithmetic: {
        const Value left = part(0), right = part(1);
        return jinja::arithmetic(budget_, node.name, left, right);
      }
      case Node::joint:
        return joint(node, scope);
      case Node::comparison:
        return comparison(node, scope);
      case Node::conditional:
        if (truth(part(1))) return part(0);
        return node.parts[2] ? part(2) : undefined("an if without else gives nothing");
      case Node::attribute:
        return jinja::attribute(budget_, part(0), node.name);
      case Node::item: {
        const Value subject = part(0), key = part(1);
        return jinja::item(budget_, subject, key);
      }
      case Node::slice:
        return sliced(node, scope);
      case Node::call: {
        const Value callee = part(0);
        const Arguments arguments = arguments_of(node, scope);
        return call(callee, arguments);
      }
      case Node::filter:
        return filtered(node, nullptr, scope);
      case Node::test: {
        const Value subject = part(0);
        const Arguments arguments = arguments_of(node, scope);
        return find_test(node.name)(budget_, subject, arguments);
      }
    }
    return {};
  }

  std::vector<Value> values_of(const Expression& node, const ScopePtr& scope) {
    std::vector<Value> values;
    for (const ExpressionPtr& part : node.parts) values.push_back(value_of(*part, scope));
    return values;
  }

  Value dict_of(const Expression& node, const ScopePtr& scope) {
    std::vector<std::pair<Value, Value>> entries;
    for (std::size_t i = 0; i < node.parts.size(); i += 2) {
      Value key = value_of(*node.parts[i], scope);
      entries.emplace_back(std::move(key), value_of(*node.parts[i + 1], scope));
    }
    return make_dict(budget_, std::move(entries));
  }

  Value joint(const Expression& node, const ScopePtr& scope) {
    std::string text;
    for (const Value& value : values_of(node, scope)) {
      text += to_text(budget_, value);
      if (text.size() > Budget::kMaxText) budget_.charge_text(text.size());
    }
    return make_text(budget_, std::move(text));
  }

  Value comparison(const Expression& node, const ScopePtr& scope) {
    Value left = value_of(*node.parts[0], scope);
    for (std::size_t i = 0; i < node.operators.size(); ++i) {
      Value right = value_of(*node.parts[i + 1], scope);
      const std::string& op = node.operators[i];
      const bool holds = op == "=="       ? equal(budget_, left, right)
                         : op == "!="     ? !equal(budget_, left, right)
                         : op == "in"     ? contains(budget_, right, left)
                         : op == "not in" ? !contains(budget_, right, left)
                                          : ordered(budget_, op, left, right);
      if (!holds) return false;
      left = std::move(right);
    }
    return true;
  }

  Value sliced(const Expression& node, const ScopePtr& scope) {
    const Value subject = value_of(*node.parts[0], scope);
    Value bounds[3];
    for (std::size_t i = 0; i < 3; ++i) {
      const auto& part = node.parts[i + 1];
      bounds[i] = part ? value_of(*part, scope) : Value(None{});
    }
    return jinja::slice(budget_, subject, bounds[0], bounds[1], bounds[2]);
  }

  /// `node.parts[0]` is null at the innermost filter of {% set x | ... %}, which has `body`.
  Value filtered(const Expression& node, const Value* body, const ScopePtr& scope) {
    const Deeper deeper(depth_);
    const Value subject = !node.parts[0] ? *body
                          : body != nullptr && node.parts[0]->kind == Node::filter
                              ? filtered(*node.parts[0], body, scope)
                              : value_of(*node.parts[0], scope);
    const Arguments arguments = arguments_of(node, scope);
    return find_filter(node.name)(budget_, subject, arguments);
  }

  const Limits& limits_;
  const std::optional<std::tm>& now_;
  Budget& budget_;
  int& line_;
  int depth_ = 0;
  ScopePtr globals_ = std::make_shared<Scope>();
  std::vector<std::shared_ptr<Namespace>> spaces_;
  std::vector<ScopePtr> captured_;
};

}  // namespace

std::string evaluate(const Body& body, std::vector<std::pair<std::string, Value>> variables,
                     const Limits& limits, const std::optional<std::tm>& now, Budget& budget,
                     int& line) {
  return Evaluator(limits, now, budget, line).run(body, std::move(variables));
}

}  // namespace krait::jinja
