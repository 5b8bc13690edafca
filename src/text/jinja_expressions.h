// Expressions of a template. A reader of statements (jinja_parser.cc) goes on with its tokens.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/check.h"
#include "core/printable.h"
#include "text/jinja_lexer.h"
#include "text/jinja_tree.h"

namespace krait::jinja {

/// Of expressions and of statements in statements: what walks over the tree recurses.
constexpr int kMaxTreeDepth = 200;

class ExpressionParser {
 protected:
  ExpressionParser(std::vector<Token> tokens, const std::string& where)
      : tokens_(std::move(tokens)), where_(where) {}

  const Token& current() const { return tokens_[at_]; }
  const Token& ahead() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  static bool is(const Token& token, Token::Kind kind, std::string_view text) {
    return token.kind == kind && token.text == text;
  }
  bool is_op(std::string_view op) const { return is(current(), Token::Kind::operation, op); }
  bool is_word(std::string_view word) const { return is(current(), Token::Kind::name, word); }
  bool skip_op(std::string_view op) { return is_op(op) && (++at_, true); }
  bool skip_word(std::string_view word) { return is_word(word) && (++at_, true); }

  template <typename... Args>
  [[noreturn]] void refuse(ErrorCode code, int line, fmt::format_string<Args...> format,
                           Args&&... args) const {
    fail(code, "{}:{}: {}", where_, line, fmt::format(format, std::forward<Args>(args)...));
  }
  [[noreturn]] void expected(std::string_view what) const {
    const Token& token = current();
    const std::string got = token.kind == Token::Kind::end            ? "the end of the template"
                            : token.kind == Token::Kind::variable_end ? "}}"
                            : token.kind == Token::Kind::block_end    ? "%}"
                                                                      : printable(token.text, 60);
    refuse(ErrorCode::bad_data, token.line, "expected {}, got \"{}\"", what, got);
  }
  void expect_op(std::string_view op) {
    if (!skip_op(op)) expected(fmt::format("\"{}\"", op));
  }
  void expect_word(std::string_view word) {
    if (!skip_word(word)) expected(fmt::format("\"{}\"", word));
  }
  void expect(Token::Kind kind, std::string_view what) {
    if (current().kind != kind) expected(what);
    ++at_;
  }
  std::string name() {
    if (current().kind != Token::Kind::name) expected("a name");
    return tokens_[at_++].text;
  }

  struct Deeper {
    explicit Deeper(ExpressionParser& owner) : parser(owner) {
      if (++parser.depth_ > kMaxTreeDepth) {
        parser.refuse(ErrorCode::unsupported, parser.current().line, "nested deeper than {} levels",
                      kMaxTreeDepth);
      }
    }
    ~Deeper() { --parser.depth_; }
    Deeper(const Deeper&) = delete;
    Deeper& operator=(const Deeper&) = delete;
    ExpressionParser& parser;
  };

  /// One expression, or several with commas between as a tuple; none only in parentheses.
  ExpressionPtr tuple(bool with_condition, bool in_parentheses);
  ExpressionPtr expression(bool with_condition = true);
  /// "|" and what follows; `value` is null in {% set x | ... %}.
  ExpressionPtr filters(ExpressionPtr value);

 private:
  using Node = Expression::Kind;
  ExpressionPtr node(Node kind, int line, std::string name = {}) const;
  void adopt(Expression& parent, ExpressionPtr child) const;
  void grow(Expression& parent, const Expression* child) const;
  template <typename... Parts>
  ExpressionPtr node_of(Node kind, int line, std::string name, Parts... parts) const {
    ExpressionPtr made = node(kind, line, std::move(name));
    (adopt(*made, std::move(parts)), ...);
    return made;
  }
  ExpressionPtr constant(int line, Value value) const;

  ExpressionPtr disjunction();
  ExpressionPtr conjunction();
  ExpressionPtr negation();
  ExpressionPtr comparison();
  /// The operator of a comparison that stands here, taken; empty where there is none.
  std::string comparison_operator();
  /// + -, then ~, then * / // %, then **, each from left to right.
  ExpressionPtr binary(std::size_t level);
  ExpressionPtr unary(bool with_filters);
  ExpressionPtr primary();
  ExpressionPtr name_or_constant(const Token& token);
  Value integer_of(const Token& token) const;
  ExpressionPtr list_or_dict();
  bool at_tuple_end() const;
  ExpressionPtr postfix(ExpressionPtr value);
  ExpressionPtr subscript(ExpressionPtr value, int line);
  void arguments(Expression& made);  ///< (a, b, name=c) into a call, filter or test
  ExpressionPtr call(ExpressionPtr callee);
  ExpressionPtr test(ExpressionPtr value);
  void check_filter(const Expression& filter) const;

 protected:
  std::vector<Token> tokens_;
  const std::string& where_;
  std::size_t at_ = 0;
  int depth_ = 0;
  bool in_macro_ = false, uses_caller_ = false;
  std::vector<std::pair<std::string, int>> called_;  ///< names that are called, and where
};

}  // namespace krait::jinja
