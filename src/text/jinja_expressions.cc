#include "text/jinja_expressions.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "core/printable.h"
#include "text/jinja_library.h"

namespace krait::jinja {
namespace {

using TokenKind = Token::Kind;

}  // namespace

ExpressionPtr ExpressionParser::node(Node kind, int line, std::string name) const {
  auto made = std::make_unique<Expression>();
  made->kind = kind;
  made->line = line;
  made->name = std::move(name);
  return made;
}

void ExpressionParser::adopt(Expression& parent, ExpressionPtr child) const {
  grow(parent, child.get());
  parent.parts.push_back(std::move(child));
}

void ExpressionParser::grow(Expression& parent, const Expression* child) const {
  if (child == nullptr) return;
  parent.depth = std::max(parent.depth, child->depth + 1);
  if (parent.depth > kMaxTreeDepth) {
    refuse(ErrorCode::unsupported, parent.line, "an expression of more than {} levels",
           kMaxTreeDepth);
  }
}

ExpressionPtr ExpressionParser::expression(bool with_condition) {
  const Deeper deeper(*this);
  ExpressionPtr value = disjunction();
  while (with_condition && is_word("if")) {
    const int line = tokens_[at_++].line;
    ExpressionPtr test = disjunction(), other;
    if (skip_word("else")) other = expression();
    value =
        node_of(Node::conditional, line, {}, std::move(value), std::move(test), std::move(other));
  }
  return value;
}

ExpressionPtr ExpressionParser::disjunction() {
  ExpressionPtr left = conjunction();
  while (is_word("or")) {
    const int line = tokens_[at_++].line;
    left = node_of(Node::disjunction, line, {}, std::move(left), conjunction());
  }
  return left;
}

ExpressionPtr ExpressionParser::conjunction() {
  ExpressionPtr left = negation();
  while (is_word("and")) {
    const int line = tokens_[at_++].line;
    left = node_of(Node::conjunction, line, {}, std::move(left), negation());
  }
  return left;
}

ExpressionPtr ExpressionParser::negation() {
  if (!is_word("not")) return comparison();
  const Deeper deeper(*this);
  const int line = tokens_[at_++].line;
  return node_of(Node::negation, line, {}, negation());
}

std::string ExpressionParser::comparison_operator() {
  if (current().kind == TokenKind::operation) {
    for (const std::string_view op : {"==", "!=", "<", "<=", ">", ">="}) {
      if (skip_op(op)) return std::string(op);
    }
  }
  if (skip_word("in")) return "in";
  if (is_word("not") && is(ahead(), TokenKind::name, "in")) return at_ += 2, "not in";
  return {};
}

ExpressionPtr ExpressionParser::comparison() {
  const int line = current().line;
  ExpressionPtr first = binary(0);
  ExpressionPtr whole;
  for (std::string op = comparison_operator(); !op.empty(); op = comparison_operator()) {
    if (!whole) whole = node_of(Node::comparison, line, {}, std::move(first));
    whole->operators.push_back(std::move(op));
    adopt(*whole, binary(0));
  }
  return whole ? std::move(whole) : std::move(first);
}

ExpressionPtr ExpressionParser::binary(std::size_t level) {
  static const std::vector<std::string_view> kLevels[] = {
      {"+", "-"}, {"~"}, {"*", "/", "//", "%"}, {"**"}};
  if (level == std::size(kLevels)) return unary(true);
  ExpressionPtr left = binary(level + 1);
  for (;;) {
    const Token& token = current();
    if (token.kind != TokenKind::operation ||
        std::find(kLevels[level].begin(), kLevels[level].end(), token.text) ==
            kLevels[level].end()) {
      return left;
    }
    ++at_;
    ExpressionPtr right = binary(level + 1);
    if (level != 1) {
      left = node_of(Node::arithmetic, token.line, token.text, std::move(left), std::move(right));
    } else if (left->kind == Node::joint) {
      adopt(*left, std::move(right));
    } else {
      left = node_of(Node::joint, token.line, "~", std::move(left), std::move(right));
    }
  }
}

ExpressionPtr ExpressionParser::unary(bool with_filters) {
  const int line = current().line;
  ExpressionPtr value;
  if (is_op("-") || is_op("+")) {
    const Deeper deeper(*this);
    const Node kind = tokens_[at_++].text == "-" ? Node::negative : Node::positive;
    value = node_of(kind, line, {}, unary(false));
  } else {
    value = primary();
  }
  value = postfix(std::move(value));
  while (with_filters) {
    if (is_op("|")) {
      value = filters(std::move(value));
    } else if (is_word("is")) {
      value = test(std::move(value));
    } else if (is_op("(")) {
      value = call(std::move(value));
    } else {
      break;
    }
  }
  return value;
}

ExpressionPtr ExpressionParser::constant(int line, Value value) const {
  ExpressionPtr made = node(Node::constant, line);
  made->constant = std::move(value);
  return made;
}

ExpressionPtr ExpressionParser::primary() {
  const Token& token = current();
  const int line = token.line;
  switch (token.kind) {
    case TokenKind::name:
      ++at_;
      return name_or_constant(token);
    case TokenKind::string: {
      std::string text;
      while (current().kind == TokenKind::string) text += tokens_[at_++].text;
      return constant(line, std::move(text));
    }
    case TokenKind::integer:
      ++at_;
      return constant(line, integer_of(token));
    case TokenKind::real:
      ++at_;
      return constant(line, std::strtod(token.text.c_str(), nullptr));
    default:
      break;
  }
  if (skip_op("(")) {
    ExpressionPtr value = tuple(true, true);
    expect_op(")");
    return value;
  }
  if (is_op("[") || is_op("{")) return list_or_dict();
  expected("an expression");
}

ExpressionPtr ExpressionParser::name_or_constant(const Token& token) {
  const std::string& word = token.text;
  if (word == "true" || word == "True") return constant(token.line, true);
  if (word == "false" || word == "False") return constant(token.line, false);
  if (word == "none" || word == "None") return constant(token.line, None{});
  if (word == "self" || word == "super" || (in_macro_ && (word == "varargs" || word == "kwargs"))) {
    refuse(ErrorCode::unsupported, token.line, "the name {} is not supported", word);
  }
  if (word == "caller") uses_caller_ = true;
  return node(Node::name, token.line, word);
}

Value ExpressionParser::integer_of(const Token& token) const {
  std::string_view digits = token.text;
  int base = 10;
  if (digits.size() > 1 && digits[0] == '0' && digits[1] > '9') {
    const char letter = static_cast<char>(digits[1] | 0x20);
    base = letter == 'b' ? 2 : letter == 'o' ? 8 : 16;
    digits.remove_prefix(2);
  }
  std::int64_t value = 0;
  if (std::from_chars(digits.begin(), digits.end(), value, base).ec != std::errc()) {
    refuse(ErrorCode::unsupported, token.line, "the integer {} needs more than 64 bits",
           printable(token.text, 60));
  }
  return value;
}

ExpressionPtr ExpressionParser::list_or_dict() {
  const Token& open = tokens_[at_++];
  const bool is_list = open.text == "[";
  const std::string_view close = is_list ? "]" : "}";
  ExpressionPtr made = node(is_list ? Node::list : Node::dict, open.line);
  while (!is_op(close)) {
    if (!made->parts.empty()) expect_op(",");
    if (is_op(close)) break;
    adopt(*made, expression());
    if (is_list) continue;
    expect_op(":");
    adopt(*made, expression());
  }
  expect_op(close);
  return made;
}

bool ExpressionParser::at_tuple_end() const {
  return current().kind == TokenKind::variable_end || current().kind == TokenKind::block_end ||
         is_op(")") || is_word("recursive");
}

ExpressionPtr ExpressionParser::tuple(bool with_condition, bool in_parentheses) {
  const int line = current().line;
  std::vector<ExpressionPtr> parts;
  bool is_tuple = false;
  for (;;) {
    if (!parts.empty()) expect_op(",");
    if (at_tuple_end()) break;
    parts.push_back(expression(with_condition));
    if (!is_op(",")) break;
    is_tuple = true;
  }
  if (!is_tuple && !parts.empty()) return std::move(parts[0]);
  if (!is_tuple && !in_parentheses) expected("an expression");
  ExpressionPtr made = node(Node::tuple, line);
  for (ExpressionPtr& part : parts) adopt(*made, std::move(part));
  return made;
}

ExpressionPtr ExpressionParser::postfix(ExpressionPtr value) {
  for (;;) {
    const int line = current().line;
    if (skip_op(".")) {
      if (current().kind == TokenKind::integer) {
        const Token& key = tokens_[at_++];
        value = node_of(Node::item, line, {}, std::move(value), constant(line, integer_of(key)));
      } else {
        value = node_of(Node::attribute, line, name(), std::move(value));
        if (value->name.starts_with("__")) {
          refuse(ErrorCode::unsupported, line, "the attribute {} is not supported",
                 printable(value->name));
        }
      }
    } else if (skip_op("[")) {
      value = subscript(std::move(value), line);
    } else if (is_op("(")) {
      value = call(std::move(value));
    } else {
      return value;
    }
  }
}

ExpressionPtr ExpressionParser::subscript(ExpressionPtr value, int line) {
  ExpressionPtr start, stop, step;
  if (!is_op(":")) start = expression();
  if (!skip_op(":")) {
    if (is_op(",")) refuse(ErrorCode::unsupported, line, "several keys in [] are not supported");
    expect_op("]");
    return node_of(Node::item, line, {}, std::move(value), std::move(start));
  }
  if (!is_op(":") && !is_op("]")) stop = expression();
  if (skip_op(":") && !is_op("]")) step = expression();
  if (is_op(",")) refuse(ErrorCode::unsupported, line, "several keys in [] are not supported");
  expect_op("]");
  return node_of(Node::slice, line, {}, std::move(value), std::move(start), std::move(stop),
                 std::move(step));
}

void ExpressionParser::arguments(Expression& made) {
  expect_op("(");
  for (bool first = true; !is_op(")"); first = false) {
    if (!first) expect_op(",");
    if (!first && is_op(")")) break;
    const Token& token = current();
    if (is_op("*") || is_op("**")) {
      refuse(ErrorCode::unsupported, token.line, "arguments with {} are not supported", token.text);
    }
    if (token.kind == TokenKind::name && is(ahead(), TokenKind::operation, "=")) {
      at_ += 2;
      ExpressionPtr value = expression();
      grow(made, value.get());
      for (const auto& [other, _] : made.named) {
        if (other == token.text) {
          refuse(ErrorCode::bad_data, token.line, "the argument {} stands twice", other);
        }
      }
      made.named.emplace_back(token.text, std::move(value));
    } else {
      if (!made.named.empty()) {
        refuse(ErrorCode::bad_data, token.line,
               "an argument without a name behind one with a name");
      }
      adopt(made, expression());
    }
  }
  expect_op(")");
}

ExpressionPtr ExpressionParser::call(ExpressionPtr callee) {
  const int line = current().line;
  if (callee->kind == Node::name) {
    called_.emplace_back(callee->name, line);
  } else if (callee->kind == Node::attribute && !is_method(callee->name)) {
    refuse(ErrorCode::unsupported, line, "there is no method {}()", printable(callee->name));
  }
  ExpressionPtr made = node_of(Node::call, line, {}, std::move(callee));
  arguments(*made);
  return made;
}

ExpressionPtr ExpressionParser::filters(ExpressionPtr value) {
  while (skip_op("|")) {
    const Token& token = current();
    std::string called = name();
    if (is_op(".")) refuse(ErrorCode::unsupported, token.line, "there is no filter {}.", called);
    value = node_of(Node::filter, token.line, std::move(called), std::move(value));
    if (is_op("(")) arguments(*value);
    check_filter(*value);
  }
  return value;
}

void ExpressionParser::check_filter(const Expression& filter) const {
  const std::string& word = filter.name;
  if (find_filter(word) == nullptr) {
    refuse(ErrorCode::unsupported, filter.line, "there is no filter {}", printable(word));
  }
  const bool maps = word == "map";
  const std::size_t at = word == "selectattr" || word == "rejectattr" ? 2 : 1;
  if (!maps && !word.starts_with("select") && !word.starts_with("reject")) return;
  if (filter.parts.size() <= at) return;
  const std::string* inner = filter.parts[at]->constant.text();
  if (inner == nullptr || filter.parts[at]->kind != Node::constant) {
    refuse(ErrorCode::unsupported, filter.line, "{} needs the name of its {} as a string", word,
           maps ? "filter" : "test");
  }
  if (maps ? find_filter(*inner) == nullptr : find_test(*inner) == nullptr) {
    refuse(ErrorCode::unsupported, filter.line, "there is no {} {}", maps ? "filter" : "test",
           printable(*inner));
  }
}

ExpressionPtr ExpressionParser::test(ExpressionPtr value) {
  const int line = tokens_[at_++].line;  // is
  const bool negated = skip_word("not");
  std::string called = name();
  if (find_test(called) == nullptr) {
    refuse(ErrorCode::unsupported, line, "there is no test {}", printable(called));
  }
  ExpressionPtr made = node_of(Node::test, line, std::move(called), std::move(value));
  const TokenKind kind = current().kind;
  if (is_op("(")) {
    arguments(*made);
  } else if ((kind == TokenKind::name && !is_word("else") && !is_word("or") && !is_word("and")) ||
             kind == TokenKind::string || kind == TokenKind::integer || kind == TokenKind::real ||
             is_op("[") || is_op("{")) {
    if (is_word("is")) refuse(ErrorCode::bad_data, line, "one \"is\" behind the other");
    adopt(*made, postfix(primary()));
  }
  return negated ? node_of(Node::negation, line, {}, std::move(made)) : std::move(made);
}

}  // namespace krait::jinja
