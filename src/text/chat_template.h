// Chats as the text a model was trained on: the template that lies beside its tokenizer, in a
// subset of Jinja that gives what Python's jinja2 gives as transformers sets it up, or an error
// (docs/reference/chat-templates.md).
#pragma once

#include <cstddef>
#include <cstdint>
#include <ctime>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "io/json_fwd.h"

namespace krait {

struct RenderOptions {
  std::optional<std::tm> now;           ///< what strftime_now tells; without it local time
  std::int64_t max_steps = 20'000'000;  ///< operations, items and 16 bytes of text count one each
  std::size_t max_bytes = 64u << 20;    ///< of the text
};

/// Immutable; render() may run on several threads at once.
class ChatTemplate {
 public:
  /// `where` stands before errors. Errors: bad_data (not Jinja or not UTF-8), unsupported (a
  /// construct that is not there), "WHERE:LINE: ...".
  static ChatTemplate parse(std::string_view source, const std::string& where);

  /// `inputs` is an object whose keys are the template's variables, those of transformers'
  /// apply_chat_template: messages ([{"role": ..., "content": ...}, ...]), tools, documents,
  /// add_generation_prompt, and whatever else, as bos_token. tools and documents are null and
  /// add_generation_prompt false where they are missing. Keys keep their order. Errors: bad_data,
  /// "WHERE:LINE: ...", with the template's own words where it refuses.
  std::string render(const OrderedJson& inputs, const RenderOptions& options = {}) const;

  ~ChatTemplate();
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;

 private:
  friend std::optional<ChatTemplate> find_chat_template(const std::string&);
  struct Impl;
  explicit ChatTemplate(std::unique_ptr<const Impl> impl);
  std::unique_ptr<const Impl> impl_;
};

/// The template of a model's directory: chat_template.jinja, else what tokenizer_config.json has as
/// chat_template, which may be several by name ("default", and "tool_use" for chats with tools; a
/// file additional_chat_templates/tool_use.jinja is the same). Nothing where the model has none.
/// Errors: io_error, and those of parse().
std::optional<ChatTemplate> find_chat_template(const std::string& directory);

/// The special tokens' texts by name ("bos_token", "eos_token", ...) of a model's directory, an
/// object for the inputs of render(): those of tokenizer_config.json, else of
/// special_tokens_map.json. Errors: io_error, bad_data.
OrderedJson find_special_tokens(const std::string& directory);

}  // namespace krait
