// A template as a tree.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja_value.h"

namespace krait::jinja {

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

struct Expression {
  enum class Kind {
    constant,     ///< `constant`
    name,         ///< `name`
    list,         ///< `parts`
    tuple,        ///< `parts`
    dict,         ///< `parts`: key, value, key, value ...
    negative,     ///< - parts[0]
    positive,     ///< + parts[0]
    negation,     ///< not parts[0]
    conjunction,  ///< parts[0] and parts[1]
    disjunction,  ///< parts[0] or parts[1]
    arithmetic,   ///< parts[0] `name` parts[1]
    joint,        ///< parts[0] ~ parts[1] ~ ...
    comparison,   ///< parts[0] operators[0] parts[1] operators[1] parts[2] ...
    conditional,  ///< parts[0] if parts[1] else parts[2], which may be null
    attribute,    ///< parts[0].name
    item,         ///< parts[0][parts[1]]
    slice,        ///< parts[0][parts[1]:parts[2]:parts[3]], the last three may be null
    call,         ///< parts[0](parts[1], ..., named)
    filter,       ///< parts[0] | name(parts[1], ..., named)
    test,         ///< parts[0] is name(parts[1], ..., named)
  };
  Kind kind;
  int line;
  std::string name;
  Value constant;
  std::vector<ExpressionPtr> parts;
  std::vector<std::pair<std::string, ExpressionPtr>> named;
  std::vector<std::string> operators;
  int depth = 1;
};

/// What `for` and `set` assign to: a name, an attribute of a namespace, or a tuple of targets.
struct Target {
  std::string name, attribute;
  std::vector<Target> parts;
};

struct Statement;
using Body = std::vector<Statement>;

struct Statement {
  enum class Kind {
    text,       ///< `text`
    output,     ///< {{ value }}
    condition,  ///< branches; one without a value is the else
    loop,       ///< for target in value if filter: body; otherwise: other
    set,        ///< target = value
    set_body,   ///< target = what the body prints, through filter (whose parts[0] is null)
    macro,      ///< target.name: function
    call,       ///< value, a call, with `function` as its caller
    block,      ///< body, whose names end with it
    stop,       ///< break
    next,       ///< continue
  };
  struct Parameter {
    std::string name;
    ExpressionPtr preset;  ///< or null
  };
  Kind kind;
  int line;
  std::string text;
  Target target;
  ExpressionPtr value, filter;
  Body body, other;
  std::vector<std::pair<ExpressionPtr, Body>> branches;
  std::vector<Parameter> parameters;  ///< of a macro, or of a call's caller
  bool takes_caller = false;          ///< a macro that uses `caller`
};

}  // namespace krait::jinja
