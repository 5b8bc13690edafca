// The pre-tokenizers of tokenizer.json: how normalized text falls into the words that BPE merges.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "tokenizer/pattern.h"
#include "tokenizer/split_rules.h"

namespace krait {

/// What becomes of the matches that text is split at.
enum class SplitBehavior { isolated, removed, merged_with_previous, merged_with_next, contiguous };
enum class PrependScheme { always, first, never };

/// Splits at the matches of a pattern, or at what lies between them where `invert` is set.
struct PatternSplit {
  Pattern pattern;
  SplitBehavior behavior;
  bool invert;
};
struct RuleSplit {
  SplitRule rule;
};
/// Splits at characters of some class (char_class.h).
struct ClassSplit {
  unsigned classes;
  SplitBehavior behavior;
};
/// \w+|[^\w\s]+
struct WhitespaceSplit {};
/// A space in front of every piece that does not begin with one.
struct PrefixSpace {};
/// Bytes become the characters of byte_alphabet.h.
struct ByteChars {};
/// Spaces become `replacement`, one of which is put in front by `scheme`; then split before each.
struct MetaspaceSplit {
  std::string replacement;
  PrependScheme scheme;
  bool split;
};

struct PreTokenizer {
  std::vector<std::variant<PatternSplit, RuleSplit, ClassSplit, WhitespaceSplit, PrefixSpace,
                           ByteChars, MetaspaceSplit>>
      steps;
  /// The last step would be ByteChars and is left to the model, which reads the bytes themselves.
  bool byte_level = false;
  /// Some step is ByteChars, be it the last one or not.
  bool maps_bytes = false;
};

/// Errors: bad_data, unsupported (any other pre-tokenizer, by its name).
PreTokenizer parse_pre_tokenizer(const Json& json, const std::string& where);

/// Text and the words in it. The text is the caller's or, where a step changed it, `storage`.
struct Words {
  std::string_view text;
  std::vector<Range> ranges;
  std::string storage;
  std::vector<Range> scratch, matches;
  std::string next_storage;
};

/// Splits `text` into words.ranges. `at_start`: nothing stood before it in the input.
void pre_tokenize(const PreTokenizer& pre_tokenizer, std::string_view text, bool at_start,
                  Words& words);

}  // namespace krait
