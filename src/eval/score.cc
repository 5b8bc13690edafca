#include "eval/score.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/check.h"
#include "eval/windows.h"

namespace krait {

void check_scored_ids(std::span<const std::int32_t> ids, const Engine& engine) {
  const auto bad = std::find_if(
      ids.begin(), ids.end(), [&](std::int32_t id) { return id < 0 || id >= engine.vocab_size(); });
  if (bad != ids.end()) {
    fail(ErrorCode::invalid_argument,
         "token id {} at position {} is outside the vocabulary [0, {})", *bad, bad - ids.begin(),
         engine.vocab_size());
  }
}

PerplexityResult summarize(std::span<const double> nll, std::int64_t windows, std::size_t bytes) {
  const Mean mean = mean_of(nll);
  PerplexityResult result;
  result.tokens = static_cast<std::int64_t>(nll.size());
  result.windows = windows;
  result.nll = mean.value;
  result.nll_error = mean.error;
  result.perplexity = std::exp(mean.value);
  if (bytes > 0) {
    result.bits_per_byte = mean.value * static_cast<double>(nll.size()) / std::numbers::ln2 /
                           static_cast<double>(bytes);
  }
  return result;
}

}  // namespace krait
