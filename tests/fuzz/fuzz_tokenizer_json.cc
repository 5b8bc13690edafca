// tokenizer.json from outside, then text through whatever it makes. An input is the file; what
// stands behind its last line end is the text, or part of the file where there is none.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "krait/error.h"
#include "text/utf8.h"
#include "tokenizer/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t line = input.rfind('\n');
  const std::string_view file = input.substr(0, line);
  const std::string_view text = line == std::string_view::npos ? input : input.substr(line + 1);
  try {
    const krait::Tokenizer tokenizer = krait::Tokenizer::parse(file, "fuzz");
    const auto ids = tokenizer.encode(text);
    std::string decoded = tokenizer.decode(ids, false), expected, streamed;
    krait::drain_utf8(decoded, true, expected);
    krait::TextStream stream(tokenizer, false);
    for (const krait::TokenId id : ids) {
      if (id < 0 || id >= tokenizer.vocab_size()) std::abort();
      streamed += stream.push(id);
      if (krait::valid_utf8_prefix(streamed) != streamed.size()) std::abort();
    }
    if (streamed + stream.flush() != expected) std::abort();
  } catch (const krait::Error&) {
    // Refused with a message: what hostile files are for.
  }
  return 0;
}
