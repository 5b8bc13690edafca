#include "cli/conversation.h"

#include <algorithm>
#include <span>
#include <utility>

#include "core/check.h"
#include "runtime/engine_access.h"
#include "runtime/executor.h"

namespace krait::cli {
namespace {

using enum ErrorCode;

constexpr std::size_t kKeptBytes = std::size_t{512} << 20;  // of states, but for the last two
constexpr std::string_view kReplacement = "\xef\xbf\xbd";   // U+FFFD
constexpr std::string_view kSaved = "{\"krait_chat\":";
constexpr int kVersion = 1;
constexpr std::string_view kPlain =
    "{% for message in messages %}{{ message['content'] }}"
    "{% if message['role'] != 'user' %}{{ '\\n' }}{% endif %}{% endfor %}";

std::string render_with(const ChatFormat& format, const OrderedJson& messages, bool asks) {
  OrderedJson inputs = format.special_tokens;
  inputs["messages"] = messages;
  inputs["add_generation_prompt"] = asks;
  return format.chat.render(inputs);
}

void check_messages(const OrderedJson& messages, const std::string& where) {
  check(messages.is_array(), bad_data, "{}: expected a list of messages, got {}", where,
        messages.type_name());
  for (const OrderedJson& message : messages) {
    const auto is_text = [&](const char* key) {
      return message.is_object() && message.contains(key) && message.at(key).is_string();
    };
    check(is_text("role") && is_text("content"), bad_data,
          "{}: each message must have a text as role and one as content", where);
  }
}

}  // namespace

ChatFormat find_chat_format(const std::string& directory, const std::string& file) {
  OrderedJson special_tokens = find_special_tokens(directory);
  if (!file.empty()) return {ChatTemplate::parse(read_file(file), file), special_tokens};
  std::optional<ChatTemplate> found = find_chat_template(directory);
  if (found) return {std::move(*found), special_tokens};
  return {ChatTemplate::parse(kPlain, "plain text"), special_tokens, true};
}

std::vector<TokenId> turn_ends(const ChatFormat& format, const Tokenizer& tokenizer) {
  std::vector<TokenId> ends;
  if (format.is_plain) return ends;
  if (const auto eos = format.special_tokens.find("eos_token");
      eos != format.special_tokens.end()) {
    if (const auto id = tokenizer.find(eos->get_ref<const std::string&>())) ends.push_back(*id);
  }
  const std::string answer = "krait answers";
  const OrderedJson messages = {{{"role", "user"}, {"content", "?"}},
                                {{"role", "assistant"}, {"content", answer}}};
  std::string after;
  try {
    const std::string text = render_with(format, messages, false);
    if (const std::size_t at = text.rfind(answer); at != std::string::npos) {
      after = text.substr(at + answer.size());
    }
  } catch (const Error&) {  // it will be told when it is asked
  }
  for (const TokenId id : tokenizer.encode(after, false)) {
    const std::string piece = tokenizer.decode({&id, 1}, false);
    if (piece != tokenizer.decode({&id, 1}, true)) {  // special
      ends.push_back(id);
      break;
    }
    if (piece.find_first_not_of(" \n") != std::string::npos) break;
  }
  return ends;
}

Conversation::Conversation(const Engine& engine, ChatFormat format)
    : engine_(engine), format_(std::move(format)) {}

std::string Conversation::render(const OrderedJson& messages, bool asks) const {
  return render_with(format_, messages, asks);
}

void Conversation::set_system(const std::string& text) {
  if (!messages_.empty() && messages_.front().at("role") == "system") {
    messages_.erase(messages_.begin());
  }
  if (text.empty()) return;
  messages_.insert(messages_.begin(), OrderedJson{{"role", "system"}, {"content", text}});
}

std::optional<std::string> Conversation::undo() {
  std::size_t count = messages_.size();
  while (count > 0 && messages_[count - 1].at("role") != "user") --count;
  if (count == 0) return std::nullopt;
  std::string question = messages_[count - 1].at("content");
  messages_.erase(messages_.begin() + static_cast<std::ptrdiff_t>(count - 1), messages_.end());
  std::erase_if(kept_, [&](const Kept& kept) { return kept.messages >= count; });
  return question;
}

/// Whether the text of an answer is exactly what the session has consumed of it: no special tokens,
/// no bytes that are no character, and no text of a token that a stop text begins in.
bool Conversation::is_text_whole(Session& session, const GenerateResult& result,
                                 const GenerateOptions& options) const {
  const Sequence& sequence = SessionAccess::sequence(session);
  if (!sequence.text || sequence.text->held() > 0 || !sequence.shown.empty()) return false;
  if (result.text.find(kReplacement) != std::string::npos) return false;
  const Tokenizer& tokenizer = EngineAccess::model(engine_)->known_tokenizer();
  const auto is_special = [&](TokenId id) {
    return tokenizer.decode({&id, 1}, false) != tokenizer.decode({&id, 1}, true);
  };
  std::span<const std::int32_t> ids(result.ids);
  if (result.finish_reason != FinishReason::length) {
    const auto ends = engine_.eos_ids();
    const bool has_end = result.finish_reason == FinishReason::stop && !ids.empty() &&
                         std::ranges::find(ends, ids.back()) != ends.end();
    if (!has_end && !options.stop.empty()) return false;
    if (has_end) ids = ids.first(ids.size() - 1);  // it is not consumed
  }
  return std::ranges::none_of(ids, is_special);
}

void Conversation::keep(std::string text, Session session, std::size_t messages) {
  kept_.push_back({std::move(text), std::move(session), messages});
  std::size_t bytes = 0;
  for (const Kept& kept : kept_) bytes += kept.session.state_bytes();
  while (kept_.size() > 2 && bytes > kKeptBytes) {
    bytes -= kept_.front().session.state_bytes();
    kept_.pop_front();
  }
}

Turn Conversation::ask(const std::string& text, GenerateOptions options,
                       const std::function<void(std::string_view)>& on_text,
                       const ProgressFn& progress) {
  OrderedJson messages = messages_;
  messages.push_back({{"role", "user"}, {"content", text}});
  const std::string prompt = render(messages, true);
  const auto known = std::find_if(kept_.rbegin(), kept_.rend(),
                                  [&](const Kept& kept) { return prompt.starts_with(kept.text); });
  const bool is_known = known != kept_.rend();
  Session session = is_known ? known->session : engine_.new_session();
  const std::size_t seen = is_known ? known->text.size() : 0;
  // A template writes the beginning of a text itself.
  const std::vector<std::int32_t> ids =
      engine_.encode(prompt.substr(seen), format_.is_plain && !is_known);
  check(!ids.empty() || !session.logits().empty(), invalid_argument,
        "the chat template makes no text of the conversation: there is nothing to answer");
  Turn turn{{}, session.position(), std::ssize(ids), known != kept_.rbegin()};
  for (std::size_t done = 0; done < ids.size();) {
    check(!options.cancel.cancelled(), cancelled, "cancelled before the answer");
    const std::size_t count = std::min<std::size_t>(kPrefillChunk, ids.size() - done);
    session.prefill(std::span(ids).subspan(done, count));
    done += count;
    progress({.phase = "read", .done = std::int64_t(done), .total = turn.read, .unit = "tokens"});
  }
  Sequence& sequence = SessionAccess::sequence(session);
  if (random_) {
    sequence.random = random_;
    options.seed.reset();
  }
  kept_.erase(known.base(), kept_.end());
  keep(prompt, session, messages.size());

  Generation generation(engine_, session, "", options);
  while (const std::optional<Token> token = generation.next()) on_text(token->text);
  turn.result = generation.result();
  check(turn.result.finish_reason != FinishReason::cancelled || !turn.result.ids.empty(), cancelled,
        "cancelled before the answer");
  random_ = sequence.random;
  messages.push_back({{"role", "assistant"}, {"content", turn.result.text}});
  messages_ = std::move(messages);
  if (is_text_whole(session, turn.result, options)) {
    keep(prompt + turn.result.text, std::move(session), messages_.size());
  }
  return turn;
}

std::string Conversation::save() const {
  const bool has_answer = std::ranges::any_of(
      messages_, [](const OrderedJson& message) { return message.at("role") == "assistant"; });
  const std::string text = has_answer ? render(messages_, false) : "";
  const auto known = std::find_if(kept_.rbegin(), kept_.rend(),
                                  [&](const Kept& kept) { return text.starts_with(kept.text); });
  OrderedJson json = {{"krait_chat", kVersion}, {"messages", messages_}};
  if (known != kept_.rend()) json["read"] = known->text;
  return json.dump() + "\n" + (known != kept_.rend() ? known->session.save() : "");
}

bool is_saved_chat(std::string_view bytes) { return bytes.starts_with(kSaved); }

std::string Conversation::load(std::string_view saved, const std::string& where) {
  const std::size_t line = is_saved_chat(saved) ? saved.find('\n') : std::string_view::npos;
  const OrderedJson json = parse_ordered_json(saved.substr(0, line), where);
  if (is_saved_chat(saved)) {
    check(json.at("krait_chat") == kVersion, unsupported,
          "{} is a conversation of version {}, this program knows version {}", where,
          json.at("krait_chat").dump(), kVersion);
  }
  const OrderedJson messages =
      json.is_object() && json.contains("messages") ? json.at("messages") : json;
  check_messages(messages, where);
  const std::string_view state =
      line == std::string_view::npos ? std::string_view() : saved.substr(line + 1);
  std::optional<Session> session;
  std::string why;
  if (!state.empty() && json.contains("read") && json.at("read").is_string()) {
    try {
      session = engine_.restore(state);
    } catch (const Error& error) {
      why = error.what();
    }
  }
  messages_ = messages;
  kept_.clear();
  if (!session) return why;
  random_ = SessionAccess::sequence(*session).random;
  keep(json.at("read"), std::move(*session), messages_.size());
  return why;
}

}  // namespace krait::cli
