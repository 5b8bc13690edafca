// How far a model's predictions are from those of a reference over the same text.
#pragma once

#include <cstdint>
#include <span>

#include "eval/bootstrap.h"
#include "eval/perplexity.h"

namespace krait {

struct DivergenceResult {
  PerplexityResult reference, model;
  double nll_difference = 0;  ///< mean of model - reference per token, nats
  double nll_difference_error =
      0;  ///< standard error of that mean (paired), tokens taken as independent
  Interval nll_difference_interval{};  ///< 95 %, by blocks of the text: bootstrap_interval()
  double kl_mean = 0;                  ///< KL(reference || model) per token, nats
  Interval kl_interval{};              ///< likewise of kl_mean
  double kl_p999 = 0;                  ///< 99.9th percentile, interpolated linearly
  double kl_max = 0;
  double top1_agreement = 0;  ///< share of tokens where both have the same largest logit
};

/// Runs both over the windows of perplexity(). KL and agreement are over ids below vocab_size.
/// Errors: as perplexity(); invalid_argument if the vocabularies differ.
DivergenceResult compare(const Engine& reference, const Engine& model,
                         std::span<const std::int32_t> ids, std::size_t bytes,
                         std::int64_t seq_len = 2048, const ProgressFn& progress = {});

}  // namespace krait
