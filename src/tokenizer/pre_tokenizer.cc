#include "tokenizer/pre_tokenizer.h"

#include <algorithm>
#include <span>

#include "core/check.h"
#include "text/utf8.h"
#include "tokenizer/byte_alphabet.h"
#include "tokenizer/char_class.h"
#include "tokenizer/component.h"

namespace krait {
namespace {

constexpr std::string_view kSupported =
    "one of ByteLevel, Split, Digits, Punctuation, Metaspace, Whitespace, WhitespaceSplit, "
    "Sequence";
constexpr std::size_t kMaxSteps = 64;

SplitBehavior parse_behavior(const JsonFields& component, SplitBehavior fallback) {
  if (!component.has("behavior")) return fallback;
  const std::string name = component.text("behavior");
  if (name == "Isolated") return SplitBehavior::isolated;
  if (name == "Removed") return SplitBehavior::removed;
  if (name == "MergedWithPrevious") return SplitBehavior::merged_with_previous;
  if (name == "MergedWithNext") return SplitBehavior::merged_with_next;
  if (name == "Contiguous") return SplitBehavior::contiguous;
  unsupported_component(component.where() + " behavior", name,
                        "one of Isolated, Removed, MergedWithPrevious, MergedWithNext, Contiguous");
}

PrependScheme parse_scheme(const JsonFields& component) {
  // Files from before 2024 say add_prefix_space instead.
  const bool prefix = component.flag("add_prefix_space", true);
  if (!component.has("prepend_scheme")) {
    return prefix ? PrependScheme::always : PrependScheme::never;
  }
  const std::string name = component.text("prepend_scheme");
  if (name != "always" && name != "first" && name != "never") {
    unsupported_component(component.where() + " prepend_scheme", name,
                          "one of always, first, never");
  }
  check(!component.has("add_prefix_space") || prefix == (name != "never"), ErrorCode::bad_data,
        "{}: add_prefix_space and prepend_scheme contradict each other", component.where());
  return name == "always"  ? PrependScheme::always
         : name == "first" ? PrependScheme::first
                           : PrependScheme::never;
}

void parse_step(const JsonFields& component, const std::string& type, PreTokenizer& out) {
  auto& steps = out.steps;
  if (type == "ByteLevel") {
    component.flag("trim_offsets", true);
    if (component.flag("add_prefix_space", true)) steps.push_back(PrefixSpace{});
    if (component.flag("use_regex", true)) steps.push_back(RuleSplit{SplitRule::gpt2});
    steps.push_back(ByteChars{});
    out.maps_bytes = true;
  } else if (type == "Split") {
    const SplitBehavior behavior = parse_behavior(component, SplitBehavior::isolated);
    const bool invert = component.flag("invert", false);
    Pattern pattern = Pattern::parse(component, "pattern");
    // The known expressions match every character, so that nothing lies between their matches.
    const auto rule = split_rule_of(pattern.expression());
    if (rule &&
        ((behavior == SplitBehavior::isolated) || (behavior == SplitBehavior::removed && invert))) {
      steps.push_back(RuleSplit{*rule});
    } else {
      steps.push_back(PatternSplit{std::move(pattern), behavior, invert});
    }
  } else if (type == "Digits") {
    steps.push_back(ClassSplit{kNumber, component.flag("individual_digits", false)
                                            ? SplitBehavior::isolated
                                            : SplitBehavior::contiguous});
  } else if (type == "Punctuation") {
    steps.push_back(ClassSplit{kPunctuation, parse_behavior(component, SplitBehavior::isolated)});
  } else if (type == "WhitespaceSplit") {
    steps.push_back(ClassSplit{kSpace, SplitBehavior::removed});
  } else if (type == "Whitespace") {
    steps.push_back(WhitespaceSplit{});
  } else if (type == "Metaspace") {
    const std::string replacement = component.text("replacement", "\xE2\x96\x81");
    check(!replacement.empty() && code_point_at(replacement.data()).size == replacement.size(),
          ErrorCode::bad_data, "{}: 'replacement' must be one character", component.where());
    steps.push_back(
        MetaspaceSplit{replacement, parse_scheme(component), component.flag("split", true)});
  } else {
    unsupported_component(component.where(), type, kSupported);
  }
}

/// Collects what one piece falls into: matches and what lies between them, joined by the behavior.
class Splitter {
 public:
  Splitter(SplitBehavior behavior, std::vector<Range>& out)
      : behavior_(behavior), first_(out.size()), out_(out) {}

  void add(Range range, bool is_match) {
    const bool has_previous = out_.size() > first_;
    bool join = false;
    switch (behavior_) {
      case SplitBehavior::isolated:
        break;
      case SplitBehavior::removed:
        if (is_match) return;
        break;
      case SplitBehavior::contiguous:
        join = is_match == previous_is_match_;
        break;
      case SplitBehavior::merged_with_previous:
        join = is_match && !previous_is_match_;
        break;
      case SplitBehavior::merged_with_next:
        join = !is_match && previous_is_match_;
        break;
    }
    previous_is_match_ = is_match;
    if (join && has_previous) {
      out_.back().end = range.end;
    } else {
      out_.push_back(range);
    }
  }

 private:
  SplitBehavior behavior_;
  bool previous_is_match_ = false;
  std::size_t first_;
  std::vector<Range>& out_;
};

void split_at_matches(Range piece, std::span<const Range> matches, SplitBehavior behavior,
                      bool invert, std::vector<Range>& out) {
  Splitter splitter(behavior, out);
  std::size_t at = piece.begin;
  for (const Range& match : matches) {
    if (at != match.begin) splitter.add({at, match.begin}, invert);
    splitter.add(match, !invert);
    at = match.end;
  }
  if (at != piece.end) splitter.add({at, piece.end}, invert);
}

/// Runs of characters of one kind as pieces: kind_of maps class bits to it, below 0 is left out.
template <typename KindOf>
void split_runs(std::string_view text, Range piece, const KindOf& kind_of,
                std::vector<Range>& out) {
  const std::uint8_t* classes = char_classes();
  int previous = -1;
  for (std::size_t at = piece.begin; at < piece.end;) {
    const CodePoint c = code_point_at(text.data() + at);
    const int kind = kind_of(classes[c.value]);
    if (kind >= 0 && kind == previous) {
      out.back().end = at + c.size;
    } else if (kind >= 0) {
      out.push_back({at, at + c.size});
    }
    previous = kind;
    at += c.size;
  }
}

/// Applies one step to every range of `words`.
struct ApplyStep {
  Words& words;
  bool& at_start;  ///< the first range begins where the input does

  template <typename Split>
  void split_each(const Split& split) const {
    words.scratch.clear();
    for (const Range& piece : words.ranges) split(piece, words.scratch);
    at_start = at_start && !words.ranges.empty() && !words.scratch.empty() &&
               words.scratch.front().begin == words.ranges.front().begin;
    words.ranges.swap(words.scratch);
  }

  /// rewrite(piece, out, first) appends the new text of a piece to `out`.
  template <typename Rewrite>
  void rewrite_each(const Rewrite& rewrite) const {
    words.next_storage.clear();
    bool first = true;
    for (Range& range : words.ranges) {
      const std::size_t begin = words.next_storage.size();
      rewrite(words.text.substr(range.begin, range.end - range.begin), words.next_storage,
              first && at_start);
      range = {begin, words.next_storage.size()};
      first = false;
    }
    words.storage.swap(words.next_storage);
    words.text = words.storage;
  }

  void operator()(const PatternSplit& step) const {
    split_each([&](Range piece, std::vector<Range>& out) {
      words.matches.clear();
      step.pattern.find(words.text, piece, words.matches);
      if (words.matches.empty() && !step.invert) {
        out.push_back(piece);
      } else {
        split_at_matches(piece, words.matches, step.behavior, step.invert, out);
      }
    });
    std::erase_if(words.ranges, [](Range range) { return range.begin == range.end; });
  }

  void operator()(const RuleSplit& step) const {
    split_each([&](Range piece, std::vector<Range>& out) {
      split_words(step.rule, words.text, piece, out);
    });
  }

  void operator()(const ClassSplit& step) const {
    const std::uint8_t* classes = char_classes();
    split_each([&](Range piece, std::vector<Range>& out) {
      Splitter splitter(step.behavior, out);
      std::size_t between = piece.begin;
      for (std::size_t at = piece.begin; at < piece.end;) {
        const CodePoint c = code_point_at(words.text.data() + at);
        if (classes[c.value] & step.classes) {
          if (between != at) splitter.add({between, at}, false);
          between = at + c.size;
          splitter.add({at, between}, true);
        }
        at += c.size;
      }
      if (between != piece.end) splitter.add({between, piece.end}, false);
    });
  }

  void operator()(const WhitespaceSplit&) const {
    split_each([&](Range piece, std::vector<Range>& out) {
      split_runs(
          words.text, piece,
          [](unsigned classes) { return classes & kWord    ? 1
                                        : classes & kSpace ? -1
                                                           : 0; }, out);
    });
  }

  void operator()(const PrefixSpace&) const {
    const bool all_have = std::all_of(words.ranges.begin(), words.ranges.end(),
                                      [&](Range range) { return words.text[range.begin] == ' '; });
    if (all_have) return;
    rewrite_each([](std::string_view piece, std::string& out, bool) {
      if (piece.front() != ' ') out.push_back(' ');
      out.append(piece);
    });
  }

  void operator()(const ByteChars&) const {
    rewrite_each(
        [](std::string_view piece, std::string& out, bool) { append_byte_chars(piece, out); });
  }

  void operator()(const MetaspaceSplit& step) const {
    rewrite_each([&](std::string_view piece, std::string& out, bool first) {
      const bool has_prefix = piece.front() == ' ' || piece.starts_with(step.replacement);
      if (!has_prefix && (step.scheme == PrependScheme::always ||
                          (step.scheme == PrependScheme::first && first))) {
        out.append(step.replacement);
      }
      for (const char c : piece) {
        if (c == ' ') {
          out.append(step.replacement);
        } else {
          out.push_back(c);
        }
      }
    });
    if (!step.split) return;
    const Pattern marker = Pattern::literal(step.replacement);
    split_each([&](Range piece, std::vector<Range>& out) {
      words.matches.clear();
      marker.find(words.text, piece, words.matches);
      split_at_matches(piece, words.matches, SplitBehavior::merged_with_next, false, out);
    });
  }
};

}  // namespace

PreTokenizer parse_pre_tokenizer(const Json& json, const std::string& where) {
  PreTokenizer out;
  for_each_component(json, "pretokenizers", where + ": pre_tokenizer",
                     [&](const JsonFields& component, const std::string& type) {
                       parse_step(component, type, out);
                       check(out.steps.size() <= kMaxSteps, ErrorCode::unsupported,
                             "{}: more than {} pre-tokenizers", where, kMaxSteps);
                     });
  if (!out.steps.empty() && std::holds_alternative<ByteChars>(out.steps.back())) {
    out.steps.pop_back();
    out.byte_level = true;
  }
  return out;
}

void pre_tokenize(const PreTokenizer& pre_tokenizer, std::string_view text, bool at_start,
                  Words& words) {
  words.text = text;
  words.ranges.clear();
  if (text.empty()) return;
  words.ranges.push_back({0, text.size()});
  for (const auto& step : pre_tokenizer.steps) {
    std::visit(ApplyStep{words, at_start}, step);
  }
}

}  // namespace krait
