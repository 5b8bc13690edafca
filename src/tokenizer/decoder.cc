#include "tokenizer/decoder.h"

#include <algorithm>

#include "core/check.h"
#include "text/utf8.h"
#include "tokenizer/byte_alphabet.h"
#include "tokenizer/component.h"
#include "tokenizer/normalizer.h"

namespace krait {
namespace {

constexpr std::string_view kSupported =
    "one of ByteLevel, Replace, ByteFallback, Fuse, Strip, Metaspace, Sequence";
constexpr std::size_t kMaxContent = 1024;
constexpr std::size_t kMaxSteps = 64;

std::string one_character(const JsonFields& component, const char* key, std::string value) {
  check(!value.empty() && code_point_at(value.data()).size == value.size(), ErrorCode::bad_data,
        "{}: '{}' must be one character", component.where(), key);
  return value;
}

bool metaspace_drops_first(const JsonFields& component) {
  const bool prefix = component.flag("add_prefix_space", true);
  return component.has("prepend_scheme") ? component.text("prepend_scheme") != "never" : prefix;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

// The byte of a token "<0x41>", or -1.
int byte_of(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return -1;
  const int high = hex_digit(token[3]), low = hex_digit(token[4]);
  return high < 0 || low < 0 ? -1 : 16 * high + low;
}

std::size_t leading_copies(std::string_view text, std::string_view character, std::size_t limit) {
  std::size_t n = 0;
  while (n < limit && text.substr(n * character.size()).starts_with(character)) ++n;
  return n;
}

std::size_t trailing_copies(std::string_view text, std::string_view character, std::size_t limit) {
  std::size_t n = 0;
  while (n < limit && text.ends_with(character)) {
    text.remove_suffix(character.size());
    ++n;
  }
  return n;
}

std::string strip(std::string token, const StripDecode& step) {
  token.erase(0, leading_copies(token, step.content, step.start) * step.content.size());
  token.resize(token.size() -
               trailing_copies(token, step.content, step.stop) * step.content.size());
  return token;
}

// `budget` is what replacements may still make, in bytes; it bounds hostile files.
std::string replaced(std::string_view token, const Pattern& pattern, std::string_view content,
                     std::size_t& budget) {
  // Earlier steps may have left bytes that are not UTF-8.
  const bool valid = valid_utf8_prefix(token) == token.size();
  const std::string escaped = valid ? std::string() : escape_invalid_bytes(token);
  std::string out, bytes;
  replace_all(pattern, content, valid ? token : std::string_view(escaped), budget, out);
  budget -= out.size();
  if (valid) return out;
  append_unescaped(out, bytes);
  return bytes;
}

std::string metaspace(std::string_view token, const MetaspaceDecode& step, bool first,
                      std::size_t& budget) {
  return replaced(token, Pattern::literal(step.replacement), first && step.drop_first ? "" : " ",
                  budget);
}

}  // namespace

Decoder parse_decoder(const Json& json, const std::string& where) {
  Decoder decoder;
  decoder.join_with_spaces = json.is_null();
  for_each_component(json, "decoders", where + ": decoder",
                     [&](const JsonFields& component, const std::string& type) {
                       if (type == "ByteLevel") {
                         decoder.steps.push_back(ByteLevelDecode{});
                       } else if (type == "Replace") {
                         std::string content = component.text("content");
                         check(content.size() <= kMaxContent, ErrorCode::unsupported,
                               "{}: 'content' has {} bytes, at most {} are supported",
                               component.where(), content.size(), kMaxContent);
                         decoder.steps.push_back(ReplaceDecode{Pattern::parse(component, "pattern"),
                                                               std::move(content)});
                       } else if (type == "ByteFallback") {
                         decoder.steps.push_back(ByteFallbackDecode{});
                       } else if (type == "Fuse") {
                         decoder.steps.push_back(FuseDecode{});
                       } else if (type == "Strip") {
                         decoder.steps.push_back(StripDecode{
                             one_character(component, "content", component.text("content", " ")),
                             static_cast<std::size_t>(component.integer("start")),
                             static_cast<std::size_t>(component.integer("stop"))});
                       } else if (type == "Metaspace") {
                         decoder.steps.push_back(MetaspaceDecode{
                             one_character(component, "replacement",
                                           component.text("replacement", "\xE2\x96\x81")),
                             metaspace_drops_first(component)});
                       } else {
                         unsupported_component(component.where(), type, kSupported);
                       }
                       check(decoder.steps.size() <= kMaxSteps, ErrorCode::unsupported,
                             "{}: more than {} decoders", where, kMaxSteps);
                     });
  return decoder;
}

/// Feeds one token, or a part of a fused one, to a step.
struct DecodeState::Step {
  DecodeState& state;
  std::size_t index;
  bool fused;  ///< all that comes is one token in parts
  std::string token;
  std::string& out;

  Stage& stage() const { return state.stages_[index]; }
  void pass(std::string text) const { state.feed(index + 1, std::move(text), out); }

  void operator()(const ByteLevelDecode&) {
    if (fused) return hold();
    std::string bytes;
    pass(append_char_bytes(token, bytes) ? std::move(bytes) : std::move(token));
  }
  void operator()(const ReplaceDecode& step) {
    if (fused) return hold();
    pass(replaced(token, step.pattern, step.content, state.budget_));
  }
  void operator()(const ByteFallbackDecode&) {
    if (fused) return hold();
    // Bytes wait for the rest of their character, which later steps see as one token.
    std::string& held = stage().held;
    const int byte = byte_of(token);
    if (byte < 0) {
      if (!held.empty()) pass(std::exchange(held, {}));
      return pass(std::move(token));
    }
    held.push_back(static_cast<char>(byte));
    if (utf8_unit(held).kind != Utf8Unit::Kind::incomplete) pass(std::exchange(held, {}));
  }
  void operator()(const FuseDecode&) { pass(std::move(token)); }
  void operator()(const StripDecode& step) {
    if (!fused) return pass(strip(std::move(token), step));
    if (step.content.size() > 1) return hold();
    if (stage().at_start) {
      const std::size_t n = leading_copies(token, step.content, step.start - stage().stripped);
      stage().stripped += n;
      token.erase(0, n);
      if (token.empty()) return;
      stage().at_start = false;
    }
    // Copies at the end may be the last ones: they wait.
    std::string text = std::exchange(stage().held, {}) + token;
    const std::size_t n = trailing_copies(text, step.content, step.stop);
    stage().held = text.substr(text.size() - n);
    text.resize(text.size() - n);
    pass(std::move(text));
  }
  void operator()(const MetaspaceDecode& step) {
    if (fused) return hold();
    pass(metaspace(token, step, !std::exchange(stage().started, true), state.budget_));
  }

  /// A step that must see a fused token as a whole waits for the end.
  void hold() const { stage().held += token; }
};

DecodeState::DecodeState(const Decoder& decoder)
    : decoder_(&decoder), stages_(decoder.steps.size() + 1) {}

// Whether what step `index` sees has been fused by a step before it.
static bool fused_before(const Decoder& decoder, std::size_t index) {
  return std::any_of(decoder.steps.begin(),
                     decoder.steps.begin() + static_cast<std::ptrdiff_t>(index),
                     [](const auto& step) {
                       return std::holds_alternative<FuseDecode>(step) ||
                              std::holds_alternative<ByteLevelDecode>(step);
                     });
}

void DecodeState::feed(std::size_t step, std::string token, std::string& out) {
  if (step < decoder_->steps.size()) {
    std::visit(Step{*this, step, fused_before(*decoder_, step), std::move(token), out},
               decoder_->steps[step]);
    return;
  }
  if (decoder_->join_with_spaces && std::exchange(stages_.back().started, true)) out.push_back(' ');
  out += token;
}

void DecodeState::push(std::string_view token, std::string& out) {
  budget_ += 1024 * token.size();
  feed(0, std::string(token), out);
}

std::size_t DecodeState::held() const noexcept {
  std::size_t bytes = 0;
  for (const Stage& stage : stages_) bytes += stage.held.size();
  return bytes;
}

void DecodeState::finish(std::string& out) {
  for (std::size_t i = 0; i < decoder_->steps.size(); ++i) {
    std::string held = std::exchange(stages_[i].held, {});
    const auto& step = decoder_->steps[i];
    if (held.empty()) continue;
    const bool fused = fused_before(*decoder_, i);
    if (const auto* fallback = std::get_if<ByteFallbackDecode>(&step); fallback && fused) {
      if (const int byte = byte_of(held); byte >= 0) held = static_cast<char>(byte);
    } else if (std::holds_alternative<ByteLevelDecode>(step)) {
      std::string bytes;
      if (append_char_bytes(held, bytes)) held = bytes;
    } else if (const auto* replace = std::get_if<ReplaceDecode>(&step)) {
      held = replaced(held, replace->pattern, replace->content, budget_);
    } else if (const auto* space = std::get_if<MetaspaceDecode>(&step)) {
      held = metaspace(held, *space, true, budget_);
    } else if (const auto* ends = std::get_if<StripDecode>(&step)) {
      held = ends->content.size() > 1 ? strip(std::move(held), *ends) : std::string();
    }
    feed(i + 1, std::move(held), out);
  }
  stages_.assign(stages_.size(), Stage{});
  budget_ = kBudget;
}

}  // namespace krait
