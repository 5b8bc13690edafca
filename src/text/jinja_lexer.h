// A template's source as tokens. White space around tags goes as transformers sets Jinja up:
// trim_blocks (a line end behind a block or comment is part of it), lstrip_blocks (so is what
// indents it), one line end at the end of the source falls away, and "-" or "+" inside a tag's
// ends strips or keeps more.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace krait::jinja {

struct Token {
  enum class Kind {
    data,            ///< text between tags
    variable_begin,  ///< {{
    variable_end,
    block_begin,  ///< {%
    block_end,
    name,
    string,   ///< `text` without quotes and escapes
    integer,  ///< `text` as digits of base 10, 2, 8 or 16 with their prefix, without "_"
    real,
    operation,
    end,  ///< of the source
  };
  Kind kind;
  std::string text;
  int line;
};

/// The last token is an `end`. Errors: bad_data, unsupported, "WHERE:LINE: ...".
std::vector<Token> tokenize(std::string_view source, const std::string& where);

}  // namespace krait::jinja
