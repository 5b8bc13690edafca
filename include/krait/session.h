#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "krait/engine.h"
#include "krait/export.h"

namespace krait {

struct LoadedModel;
struct Sequence;
class Session;

/// ids[i] into *sessions[i], all in one pass over the weights: many sequences cost little more than
/// one while memory is the limit. States and logits are the same bits as with
/// sessions[i]->decode(ids[i]) one after the other (but for recipes whose scales span tokens).
/// Errors: invalid_argument for lists of different lengths, sessions of different engines, a
/// session that is there twice, an id outside [0, vocab_rows); bad_data for logits that are NaN or
/// infinite, once all have consumed their token.
KRAIT_API void decode(std::span<Session* const> sessions, std::span<const std::int32_t> ids);

/// One conversation: a state that does not grow with the text, but for what attention keeps.
/// Copying forks it. One thread at a time may use it.
class KRAIT_API Session {
 public:
  Session(const Session&);
  Session& operator=(const Session&);
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;
  ~Session();

  /// Consumes tokens, continuing from the current state. How a text is cut into calls changes
  /// nothing.
  /// Errors: invalid_argument for an id outside [0, vocab_rows); bad_data for logits that are NaN
  /// or infinite, once the tokens are consumed.
  void prefill(std::span<const std::int32_t> ids);
  void decode(std::int32_t id) { prefill({&id, 1}); }

  /// f32 [vocab_rows] after the last consumed token; empty at the start of a sequence, and after
  /// restoring a file of an earlier version until something is consumed.
  std::span<const float> logits() const;
  std::int64_t position() const;  ///< tokens consumed
  std::size_t state_bytes() const;
  /// For Engine::restore: state, tokens, logits, random numbers and the bytes of a character that
  /// is not complete, so that what is restored goes on with the tokens that this would have had.
  std::string save() const;
  void reset();

  /// From now on rollback() can take back up to `tokens` tokens, for as many times state_bytes();
  /// 0: none. Copies keep it, saved ones do not. Errors: invalid_argument if it is negative.
  void keep_history(std::int64_t tokens);
  /// Exactly the session before the last `tokens` tokens, without logits until it consumes one; its
  /// random numbers stay as they are. Errors: invalid_argument for more than have been consumed
  /// since keep_history(), or than it keeps.
  void rollback(std::int64_t tokens);

 private:
  friend class Engine;
  friend struct SessionAccess;
  friend void krait::decode(std::span<Session* const> sessions, std::span<const std::int32_t> ids);
  explicit Session(std::shared_ptr<LoadedModel> model);
  Session(std::shared_ptr<LoadedModel> model, std::string_view saved);
  std::shared_ptr<LoadedModel> model_;
  std::unique_ptr<Sequence> sequence_;
};

}  // namespace krait
