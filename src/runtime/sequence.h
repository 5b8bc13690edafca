// One text being read and written: all that its next token follows from.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/rng.h"
#include "models/state.h"
#include "runtime/executor.h"
#include "tokenizer/tokenizer.h"

namespace krait {

/// The random numbers of a sequence, and what they began with.
struct RandomNumbers {
  std::uint64_t seed = 0;
  Rng rng;
  explicit RandomNumbers(std::uint64_t first) : seed(first), rng(first) {}
};

/// A value: copies go on from the same place with the same tokens. What is sampled how, and what
/// ends a text, is said anew by whoever writes on.
struct Sequence {
  SequenceState state;
  /// All tokens that the state has consumed; the last of them alone if the state came from a file
  /// that knew none.
  std::vector<std::int32_t> history = {};
  std::vector<float> logits = {};  ///< after the last token, [vocab_rows]; empty before the first
  std::optional<RandomNumbers> random = std::nullopt;  ///< once something was drawn
  std::optional<TextStream> text = std::nullopt;       ///< of `history`; none without a tokenizer
  std::string shown = "";  ///< what `text` has yet to give, but the reader has already

  /// Consumes tokens that are not written but read: a prompt. Errors: as Executor::run().
  void read(Executor& executor, std::span<const std::int32_t> ids);
  /// The same when the state has consumed them already.
  void have_read(std::span<const std::int32_t> ids);
  /// The text that a token which is written adds: complete characters only.
  std::string show(std::int32_t id);
  /// What can be said of the text that is still held back; bytes of half a character stay.
  std::string show_rest();
  /// The same where the text ends: those bytes are shown as U+FFFD.
  std::string show_end();
  /// As it was before the last `tokens` tokens, without logits until it reads one, for a state that
  /// keeps a history. Errors: invalid_argument if they are more than state.kept().
  void go_back(std::int64_t tokens);
  void reset();

  /// "KRSTATE3": the state, then history, logits, random numbers, text. docs/reference/formats.md.
  std::string save() const;
};

/// The empty sequence. `tokenizer` may be null, and must outlive it.
Sequence new_sequence(std::shared_ptr<const StateLayout> layout, const Tokenizer* tokenizer);

/// What save() wrote, or a state alone, which may be of version 2: such a sequence has no logits
/// until it reads a token. Errors: bad_data, invalid_argument.
Sequence restore_sequence(std::string_view saved, std::shared_ptr<const StateLayout> layout,
                          std::int64_t vocab_rows, const Tokenizer* tokenizer);

}  // namespace krait
