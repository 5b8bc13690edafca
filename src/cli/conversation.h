// A conversation with a model: its messages, and how far the model has read them.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "io/json.h"
#include "krait/engine.h"
#include "krait/generate.h"
#include "krait/quantize.h"
#include "krait/session.h"
#include "runtime/sequence.h"
#include "text/chat_template.h"
#include "tokenizer/tokenizer.h"

namespace krait::cli {

/// How messages become the text that a model reads.
struct ChatFormat {
  ChatTemplate chat;
  OrderedJson special_tokens;  ///< by name
  bool is_plain = false;       ///< there is no template: what is said is continued
};

/// The template in `file`, else the one in `directory`, else plain text. Errors: as of
/// ChatTemplate; not_found.
ChatFormat find_chat_format(const std::string& directory, const std::string& file);

/// Tokens that end an answer beside the model's own: eos_token of the tokenizer, and the special
/// token that the template puts behind an answer.
std::vector<TokenId> turn_ends(const ChatFormat& format, const Tokenizer& tokenizer);

/// What came of a question.
struct Turn {
  GenerateResult result;
  std::int64_t known = 0;  ///< tokens of the conversation that the model had read before
  std::int64_t read = 0;   ///< tokens that it read now
  bool is_again = false;   ///< what it had read last is not what the conversation begins with
};

/// The model reads only what is new: states after earlier questions and answers are kept, up to
/// some memory, and the next question goes on from the longest whose text it begins with.
class Conversation {
 public:
  Conversation(const Engine& engine, ChatFormat format);

  const OrderedJson& messages() const noexcept { return messages_; }
  /// "" takes it away.
  void set_system(const std::string& text);
  /// Takes the last question and its answer back. Returns the question; nullopt if there is none.
  std::optional<std::string> undo();

  /// Asks, and gives out the answer as it is written. Random numbers go on from turn to turn.
  /// Whatever is thrown, the conversation is as before. Errors: those of the template and of
  /// generate(); cancelled before an answer began.
  Turn ask(const std::string& text, GenerateOptions options,
           const std::function<void(std::string_view)>& on_text, const ProgressFn& progress);

  /// A line of JSON with the messages, and the state of the model that goes on from there.
  std::string save() const;
  /// What save() wrote, or JSON alone: {"messages": [...]} or a list of messages. Returns why its
  /// state cannot be used, so that all will be read again, or nothing. Errors: bad_data.
  std::string load(std::string_view saved, const std::string& where);

 private:
  struct Kept {
    std::string text;  ///< that the session has consumed
    Session session;
    std::size_t messages;  ///< that the text is of
  };
  std::string render(const OrderedJson& messages, bool asks) const;
  bool is_text_whole(Session& session, const GenerateResult& result,
                     const GenerateOptions& options) const;
  void keep(std::string text, Session session, std::size_t messages);

  const Engine& engine_;
  ChatFormat format_;
  OrderedJson messages_ = OrderedJson::array();
  std::deque<Kept> kept_;  ///< each goes on from the one before
  std::optional<RandomNumbers> random_;
};

/// Whether a file was written by Conversation::save().
bool is_saved_chat(std::string_view bytes);

}  // namespace krait::cli
