#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "krait/engine.h"
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
  std::uint64_t seed = 0;
  std::vector<std::string> stop;  ///< generation ends before the first of these texts
  bool ignore_eos = false;
};

struct GenerateResult {
  std::string text;               ///< without the stop text
  std::vector<std::int32_t> ids;  ///< what was sampled
  std::string finish_reason;      ///< "stop" (eos or stop text), "length" or "cancelled"
  std::int64_t prompt_tokens = 0;
  double prefill_seconds = 0, decode_seconds = 0;
};

/// Continues `session` with `prompt` and then samples. on_text gets complete UTF-8 only, as soon as
/// it cannot be part of a stop text; returning false cancels. The session stays usable.
/// Errors: invalid_argument for options out of range or an empty prompt on an empty session.
GenerateResult generate(const Engine& engine, Session& session, std::string_view prompt,
                        const GenerateOptions& options,
                        const std::function<bool(std::string_view)>& on_text = {});

}  // namespace krait
