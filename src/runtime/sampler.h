// From logits to a token: repeat penalty, temperature, top-k, top-p, min-p, then a draw.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/rng.h"
#include "krait/generate.h"

namespace krait {

/// Refuses option values that make no sense: invalid_argument, naming the option and its range.
void check_options(const GenerateOptions& options);

struct Candidate {
  std::int32_t id = 0;
  float logit = 0;
  double probability = 0;  ///< unnormalised: exp(logit - max)
};

/// Deterministic: the same logits, history and random numbers give the same tokens.
class Sampler {
 public:
  /// Ids at or above vocab_size are padding and never sampled. `options` are checked.
  Sampler(const GenerateOptions& options, std::int64_t vocab_size);

  /// `history`: all tokens so far; the penalty looks at the last repeat_last_n.
  std::int32_t sample(std::span<const float> logits, std::span<const std::int32_t> history,
                      Rng& rng);

  /// What the draw chooses from, by id.
  std::span<const Candidate> candidates(std::span<const float> logits,
                                        std::span<const std::int32_t> history);

 private:
  void penalize(std::span<const std::int32_t> history);
  void keep_top_k();
  void keep_top_p();
  void keep_min_p();

  GenerateOptions options_;
  std::size_t vocab_size_;
  std::vector<Candidate> candidates_;
};

}  // namespace krait
