// Writes a sequence on: draws tokens, shows their text, and knows where it ends.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>

#include "krait/generate.h"
#include "runtime/engine_access.h"
#include "runtime/sampler.h"
#include "runtime/sequence.h"
#include "runtime/stop_filter.h"

namespace krait {

/// Whoever drives it runs the model: write() draws from the sequence's logits, and before the next
/// one the state must have consumed next(). Model and sequence must outlive it.
class Writer {
 public:
  /// Errors: as check_options().
  Writer(const LoadedModel& model, Sequence& sequence, const GenerateOptions& options);

  /// Draws a token. finish() is running, next() null and the sequence has logits.
  Token write();
  /// The token that was drawn and that the state has yet to consume, or null.
  const std::int32_t* next() const noexcept { return next_ ? &*next_ : nullptr; }
  void consumed();  ///< next(): the state and the logits are those after it
  /// No token more: what has been shown is all there is, as soon as next() is consumed.
  void cancel();
  /// Not running: it has ended, as soon as next() is consumed.
  FinishReason finish() const noexcept { return finish_; }

 private:
  /// The sequence before a token whose text may belong to a stop text, which the token's text and
  /// what the stream holds back of it end before.
  struct Copy {
    std::size_t end;
    Sequence sequence;
  };
  void add_logprobs(Token& token) const;
  void go_back(std::size_t shown, Sequence before);

  const LoadedModel& model_;
  Sequence& sequence_;
  const GenerateOptions options_;
  Sampler sampler_;
  StopFilter filter_;
  std::optional<std::int32_t> next_;
  FinishReason finish_ = FinishReason::running;
  int written_ = 0;
  std::size_t given_ = 0, shown_ = 0;  // bytes of text: to the filter, and out of it
  std::deque<Copy> copies_;            // of tokens that the filter holds back, oldest first
};

}  // namespace krait
