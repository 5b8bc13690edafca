// A chat template from outside, then a chat through whatever it makes: text in UTF-8 or a one-line
// Error, within the limits.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "io/json.h"
#include "krait/error.h"
#include "text/chat_template.h"
#include "text/utf8.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const krait::OrderedJson chat = krait::parse_ordered_json(
      R"({"messages": [{"role": "user", "content": "\u00c9t\u00e9 \ud83d\ude00"},
                       {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f",
                        "arguments": {"x": [1, 2.5, true]}}}]}],
          "tools": [{"type": "function"}], "bos_token": "<s>", "add_generation_prompt": true})",
      "chat");
  constexpr std::int64_t kSteps = 100'000;
  constexpr std::size_t kBytes = 1 << 16;
  try {
    const std::string_view source(reinterpret_cast<const char*>(data), size);
    const std::string text =
        krait::ChatTemplate::parse(source, "fuzz")
            .render(chat, {.now = std::tm{}, .max_steps = kSteps, .max_bytes = kBytes});
    if (krait::valid_utf8_prefix(text) != text.size() || text.size() > kBytes) std::abort();
  } catch (const krait::Error& error) {
    if (std::string_view(error.what()).find('\n') != std::string_view::npos) std::abort();
  }
  return 0;
}
