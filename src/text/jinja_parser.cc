#include "text/jinja_parser.h"

#include <set>

#include "core/check.h"
#include "core/printable.h"
#include "text/jinja_expressions.h"
#include "text/jinja_lexer.h"
#include "text/jinja_library.h"

namespace krait::jinja {
namespace {

using Kind = Statement::Kind;

class Parser : private ExpressionParser {
 public:
  Parser(std::vector<Token> tokens, const std::string& where)
      : ExpressionParser(std::move(tokens), where) {}

  Body run() {
    Body body = statements({});
    for (const auto& [name, line] : called_) {
      if (!is_function(name) && name != "caller" && !assigned_.contains(name)) {
        refuse(ErrorCode::unsupported, line, "there is no function {}()", printable(name));
      }
    }
    return body;
  }

 private:
  /// Up to a tag that begins with one of `ends`, which stays the current token.
  Body statements(const std::set<std::string_view>& ends) {
    const Deeper deeper(*this);
    Body body;
    for (;;) {
      const Token token = current();
      if (token.kind == Token::Kind::end) {
        if (ends.empty()) return body;
        refuse(ErrorCode::bad_data, token.line, "the template ends without {{% {} %}}",
               *ends.begin());
      }
      ++at_;
      if (token.kind == Token::Kind::data) {
        add(body, Kind::text, token.line).text = token.text;
      } else if (token.kind == Token::Kind::variable_begin) {
        add(body, Kind::output, token.line).value = tuple(true, false);
        expect(Token::Kind::variable_end, "\"}}\"");
      } else {
        if (current().kind == Token::Kind::name && ends.contains(current().text)) return body;
        statement(body);
        end_of_tag();
      }
    }
  }

  static Statement& add(Body& body, Kind kind, int line) {
    Statement& made = body.emplace_back();
    made.kind = kind;
    made.line = line;
    return made;
  }
  void end_of_tag() { expect(Token::Kind::block_end, "\"%}\""); }

  /// What follows a tag's begin up to {% `end` %}, taken.
  Body body_until(std::string_view end) {
    end_of_tag();
    Body body = statements({end});
    expect_word(end);
    return body;
  }

  void statement(Body& body) {
    const Token& token = current();
    if (token.kind != Token::Kind::name) expected("the name of a statement");
    ++at_;
    const auto begin = [&](Kind kind) -> Statement& { return add(body, kind, token.line); };
    if (token.text == "if") {
      read_if(begin(Kind::condition));
    } else if (token.text == "for") {
      read_for(begin(Kind::loop));
    } else if (token.text == "set") {
      read_set(begin(Kind::set));
    } else if (token.text == "macro") {
      read_macro(begin(Kind::macro));
    } else if (token.text == "call") {
      read_call(begin(Kind::call));
    } else if (token.text == "generation") {
      Statement& made = begin(Kind::block);
      made.body = outside_loops([&] { return body_until("endgeneration"); });
    } else if (token.text == "break" || token.text == "continue") {
      if (loops_ == 0) refuse(ErrorCode::bad_data, token.line, "{} outside of a loop", token.text);
      begin(token.text == "break" ? Kind::stop : Kind::next);
    } else {
      refuse(ErrorCode::unsupported, token.line, "there is no statement {{% {} %}}",
             printable(token.text));
    }
  }

  /// Bodies that Jinja makes functions of: no break leaves them.
  template <typename Read>
  Body outside_loops(const Read& read) {
    const int outer = std::exchange(loops_, 0);
    Body body = read();
    loops_ = outer;
    return body;
  }

  void read_if(Statement& made) {
    for (;;) {
      ExpressionPtr test = tuple(false, false);
      end_of_tag();
      Body body = statements({"elif", "else", "endif"});
      made.branches.emplace_back(std::move(test), std::move(body));
      if (skip_word("elif")) continue;
      if (skip_word("else"))
        made.branches.emplace_back(nullptr, body_until("endif"));
      else
        expect_word("endif");
      return;
    }
  }

  void read_for(Statement& made) {
    made.target = targets();
    expect_word("in");
    made.value = tuple(false, false);
    if (skip_word("if")) made.filter = expression();
    if (is_word("recursive")) {
      refuse(ErrorCode::unsupported, current().line, "recursive loops are not supported");
    }
    end_of_tag();
    ++loops_;
    made.body = statements({"else", "endfor"});
    --loops_;
    if (skip_word("else"))
      made.other = body_until("endfor");
    else
      expect_word("endfor");
  }

  void read_set(Statement& made) {
    made.target = targets();
    if (skip_op("=")) {
      made.value = tuple(true, false);
      return;
    }
    made.kind = Kind::set_body;
    made.filter = filters(nullptr);
    made.body = body_until("endset");
  }

  /// "(a, b=1)"
  void read_parameters(Statement& made) {
    expect_op("(");
    while (!is_op(")")) {
      if (!made.parameters.empty()) expect_op(",");
      Statement::Parameter parameter{target_name(), nullptr};
      if (skip_op("=")) {
        parameter.preset = expression();
      } else if (!made.parameters.empty() && made.parameters.back().preset) {
        refuse(ErrorCode::bad_data, current().line,
               "an argument without a default behind one with a default");
      }
      for (const auto& other : made.parameters) {
        if (other.name == parameter.name) {
          refuse(ErrorCode::bad_data, current().line, "the argument {} stands twice", other.name);
        }
      }
      made.parameters.push_back(std::move(parameter));
    }
    expect_op(")");
  }

  void read_macro(Statement& made) {
    made.target.name = target_name();
    const bool outer_macro = std::exchange(in_macro_, true);
    const bool outer_caller = std::exchange(uses_caller_, false);
    read_parameters(made);
    made.body = outside_loops([&] { return body_until("endmacro"); });
    made.takes_caller = uses_caller_;
    uses_caller_ = outer_caller || uses_caller_;
    in_macro_ = outer_macro;
  }

  void read_call(Statement& made) {
    if (is_op("(")) read_parameters(made);
    made.value = expression();
    if (made.value->kind != Expression::Kind::call) {
      refuse(ErrorCode::bad_data, made.line, "{{% call %}} needs a call");
    }
    const bool outer_macro = std::exchange(in_macro_, true);
    made.body = outside_loops([&] { return body_until("endcall"); });
    in_macro_ = outer_macro;
  }

  std::string target_name() {
    const Token& token = current();
    std::string word = name();
    for (const std::string_view fixed :
         {"true", "false", "none", "True", "False", "None", "loop", "self", "super"}) {
      if (word == fixed) refuse(ErrorCode::bad_data, token.line, "{} cannot be assigned to", word);
    }
    assigned_.insert(word);
    return word;
  }

  Target one_target() {
    const Deeper deeper(*this);
    Target target;
    if (skip_op("(")) {
      target = targets();
      expect_op(")");
      return target;
    }
    if (!is(ahead(), Token::Kind::operation, ".")) {
      target.name = target_name();
      return target;
    }
    target.name = name();
    expect_op(".");
    const int line = current().line;
    target.attribute = name();
    if (target.attribute.starts_with('_')) {
      refuse(ErrorCode::unsupported, line, "a namespace keeps no {}: names with _ before them",
             printable(target.attribute));
    }
    return target;
  }

  /// One, or several with commas between.
  Target targets() {
    const int line = current().line;
    Target first = one_target();
    if (!is_op(",")) return first;
    Target whole;
    whole.parts.push_back(std::move(first));
    while (skip_op(",")) {
      if (is_op("=") || is_op(")") || is_word("in") || current().kind == Token::Kind::block_end)
        break;
      whole.parts.push_back(one_target());
    }
    for (const Target& part : whole.parts) {
      if (!part.attribute.empty()) {
        refuse(ErrorCode::unsupported, line, "several targets, one of them an attribute");
      }
    }
    return whole;
  }

  int loops_ = 0;  ///< that break and continue can mean
  std::set<std::string> assigned_;
};

}  // namespace

Body parse(std::string_view source, const std::string& where) {
  return Parser(tokenize(source, where), where).run();
}

}  // namespace krait::jinja
