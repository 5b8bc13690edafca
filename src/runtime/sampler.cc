#include "runtime/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/check.h"

namespace krait {
namespace {

/// Best first; equal logits by id, so that the order never depends on the sorting algorithm.
bool better(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

template <typename T>
void check_range(bool inside, const char* name, const char* range, T got) {
  check(inside, ErrorCode::invalid_argument, "{} must be {}, got {}", name, range, got);
}

}  // namespace

void check_options(const GenerateOptions& o) {
  constexpr float kMax = std::numeric_limits<float>::max();
  check_range(o.max_tokens >= 0, "max_tokens", "at least 0", o.max_tokens);
  check_range(o.temperature >= 0 && o.temperature <= kMax, "temperature", "at least 0",
              o.temperature);
  check_range(o.top_k >= 0, "top_k", "at least 0 (0: off)", o.top_k);
  check_range(o.top_p > 0 && o.top_p <= 1, "top_p", "above 0 and at most 1 (1: off)", o.top_p);
  check_range(o.min_p >= 0 && o.min_p <= 1, "min_p", "between 0 and 1 (0: off)", o.min_p);
  check_range(o.repeat_penalty > 0 && o.repeat_penalty <= kMax, "repeat_penalty",
              "above 0 (1: off)", o.repeat_penalty);
  check_range(o.repeat_last_n >= 0, "repeat_last_n", "at least 0", o.repeat_last_n);
  check_range(o.logprobs >= -1, "logprobs", "at least -1 (-1: none)", o.logprobs);
  for (const std::string& stop : o.stop) {
    check(!stop.empty(), ErrorCode::invalid_argument, "a stop text must not be empty");
  }
}

Sampler::Sampler(const GenerateOptions& options, std::int64_t vocab_size)
    : options_(options), vocab_size_(static_cast<std::size_t>(vocab_size)) {}

void Sampler::penalize(std::span<const std::int32_t> history) {
  if (options_.repeat_penalty == 1.0f) return;
  const auto last_n = static_cast<std::size_t>(options_.repeat_last_n);
  std::vector<std::int32_t> seen(history.end() - std::min(history.size(), last_n), history.end());
  std::sort(seen.begin(), seen.end());
  seen.erase(std::unique(seen.begin(), seen.end()), seen.end());
  for (const std::int32_t id : seen) {  // candidates_ are still in order of ids
    if (id < 0 || static_cast<std::size_t>(id) >= candidates_.size()) continue;
    float& logit = candidates_[static_cast<std::size_t>(id)].logit;
    logit = logit > 0 ? logit / options_.repeat_penalty : logit * options_.repeat_penalty;
  }
}

void Sampler::keep_top_k() {
  const auto k = static_cast<std::size_t>(options_.top_k);
  if (k == 0 || k >= candidates_.size()) return;
  std::nth_element(candidates_.begin(), candidates_.begin() + k, candidates_.end(), better);
  candidates_.resize(k);
}

/// The smallest set of best candidates whose probabilities sum to top_p at least, taken off a heap:
/// a few of a large vocabulary.
void Sampler::keep_top_p() {
  const auto worse = [](const Candidate& a, const Candidate& b) { return better(b, a); };
  double total = 0;
  for (const Candidate& c : candidates_) total += c.probability;
  const double wanted = static_cast<double>(options_.top_p) * total;
  std::make_heap(candidates_.begin(), candidates_.end(), worse);
  auto rest = candidates_.end();
  for (double sum = 0; rest != candidates_.begin() && sum < wanted; sum += rest->probability) {
    std::pop_heap(candidates_.begin(), rest--, worse);
  }
  candidates_.erase(candidates_.begin(), rest);
}

/// Those at least min_p times as probable as the best, whose unnormalised probability is 1.
void Sampler::keep_min_p() {
  std::erase_if(candidates_, [&](const Candidate& c) {
    return c.probability < static_cast<double>(options_.min_p);
  });
}

std::span<const Candidate> Sampler::candidates(std::span<const float> logits,
                                               std::span<const std::int32_t> history) {
  candidates_.resize(std::min(logits.size(), vocab_size_));
  for (std::size_t i = 0; i < candidates_.size(); ++i) {
    const float lowest = std::numeric_limits<float>::lowest();  // in place of NaN and -infinity
    candidates_[i] = {static_cast<std::int32_t>(i), logits[i] > lowest ? logits[i] : lowest, 0};
  }
  penalize(history);
  if (options_.temperature == 0) {
    const auto best = std::min_element(candidates_.begin(), candidates_.end(), better);
    candidates_ = {{best->id, best->logit, 1.0}};
    return candidates_;
  }
  keep_top_k();
  const auto best = std::min_element(candidates_.begin(), candidates_.end(), better);
  const double most = best->logit;
  for (Candidate& c : candidates_) {
    c.probability =
        std::exp((static_cast<double>(c.logit) - most) / static_cast<double>(options_.temperature));
  }
  if (options_.top_p < 1) keep_top_p();
  if (options_.min_p > 0) keep_min_p();
  // A fixed order for the draw, whatever the standard library's partition and heap leave behind.
  const auto by_id = [](const Candidate& a, const Candidate& b) { return a.id < b.id; };
  if (!std::is_sorted(candidates_.begin(), candidates_.end(), by_id)) {
    std::sort(candidates_.begin(), candidates_.end(), by_id);
  }
  return candidates_;
}

std::int32_t Sampler::sample(std::span<const float> logits, std::span<const std::int32_t> history,
                             Rng& rng) {
  const std::span<const Candidate> choice = candidates(logits, history);
  if (options_.temperature == 0) return choice.front().id;
  double total = 0;
  for (const Candidate& c : choice) total += c.probability;
  double point = rng.uniform() * total;
  for (const Candidate& c : choice) {
    point -= c.probability;
    if (point < 0) return c.id;
  }
  return choice.back().id;  // rounding left a crumb
}

}  // namespace krait
