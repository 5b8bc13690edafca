#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "krait/cancel.h"
#include "krait/engine.h"
#include "krait/export.h"
#include "krait/session.h"

namespace krait {

/// Order of the chain: repeat penalty, temperature, top-k, top-p, min-p. temperature 0 is greedy.
struct GenerateOptions {
  int max_tokens = 128;
  float temperature = 0.8f;
  int top_k = 40;               ///< 0: off
  float top_p = 0.95f;          ///< 1: off
  float min_p = 0.05f;          ///< 0: off
  float repeat_penalty = 1.0f;  ///< over the last `repeat_last_n` tokens; 1: off
  int repeat_last_n = 64;
  /// Of the random numbers. Unset: those of the session go on, or begin with a seed of chance,
  /// which the result tells.
  std::optional<std::uint64_t> seed = std::nullopt;
  std::vector<std::string> stop = {};  ///< generation ends before the first of these texts
  bool ignore_eos = false;
  int logprobs = -1;        ///< -1: none; n: of every token and of the n likeliest beside it
  CancelToken cancel = {};  ///< looked at between forward passes
};

enum class FinishReason {
  running,    ///< not yet
  stop,       ///< an end-of-text token or a stop text
  length,     ///< max_tokens
  cancelled,  ///< the CancelToken, or a callback, said so
};
KRAIT_API const char* name_of(FinishReason reason) noexcept;

struct TokenLogprob {
  std::int32_t id = 0;
  double logprob = 0;  ///< ln of the model's own probability: softmax over ids below vocab_size
};

/// One token that was sampled.
struct Token {
  std::int32_t id = 0;
  std::string text;    ///< what may be shown now: complete UTF-8 that cannot be part of a stop text
  double logprob = 0;  ///< as in TokenLogprob; 0 unless asked for
  std::vector<TokenLogprob> top;  ///< likeliest first; equal ones by id
};

struct GenerateResult {
  std::string text;               ///< without the stop text
  std::vector<std::int32_t> ids;  ///< what was sampled, those of the stop text too
  FinishReason finish_reason = FinishReason::running;
  std::int64_t prompt_tokens = 0;
  std::uint64_t seed = 0;  ///< that the random numbers began with
  double prefill_seconds = 0, decode_seconds = 0;
};

/// Writes on, token by token. At its end the session has consumed exactly the tokens whose text was
/// given out as a whole: not an end-of-text token, not a stop text; where one begins inside a
/// token, not that token either. Bytes of half a character at the limit of max_tokens are not given
/// out; the session carries them, and the next call completes the character. One thread at a time;
/// the engine and the session must outlive it, and nobody else may use the session meanwhile.
class KRAIT_API Generation {
 public:
  /// Begins to continue `session` with `prompt`; without one, where the session ended. Errors:
  /// invalid_argument for options out of range, or an empty prompt on a session without logits;
  /// not_found without a tokenizer.
  Generation(const Engine& engine, Session& session, std::string_view prompt,
             const GenerateOptions& options);
  Generation(Generation&&) noexcept;
  Generation& operator=(Generation&&) noexcept;
  ~Generation();  ///< cancels what has not ended

  /// The next token; nullopt: it has ended, and result() says why. Errors: bad_data for logits that
  /// are NaN or infinite.
  std::optional<Token> next();
  /// Ends after the token that was given out last.
  void cancel();
  /// So far.
  const GenerateResult& result() const;

 private:
  struct Run;
  std::unique_ptr<Run> run_;
};

/// Continues `session` with `prompt` to the end. on_text gets what is to be shown, never empty;
/// returning false cancels. Errors: as of Generation.
KRAIT_API GenerateResult generate(const Engine& engine, Session& session, std::string_view prompt,
                                  const GenerateOptions& options,
                                  const std::function<bool(std::string_view)>& on_text = {});

/// One of several texts that are continued together.
struct GenerateRequest {
  Session* session = nullptr;  ///< each its own
  std::string prompt = {};
  GenerateOptions options = {};
};

/// All of them in the same forward passes: each gets the tokens that it would have had alone.
/// on_token gets the index of the request; returning false cancels that one. Errors: as of
/// Generation, where one request's error ends all; invalid_argument for a session that is there
/// twice.
KRAIT_API std::vector<GenerateResult> generate(
    const Engine& engine, std::span<const GenerateRequest> requests,
    const std::function<bool(std::size_t request, const Token& token)>& on_token = {});

}  // namespace krait
