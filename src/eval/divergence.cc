#include "eval/divergence.h"

#include <algorithm>
#include <mutex>
#include <vector>

#include "core/check.h"
#include "eval/score.h"
#include "eval/softmax.h"
#include "eval/windows.h"
#include "runtime/engine_impl.h"

namespace krait {
namespace {

/// Per scored token.
struct Scores {
  std::vector<double> reference_nll, model_nll, kl;
  std::vector<char> agrees;

  void resize(std::size_t n) {
    reference_nll.resize(n);
    model_nll.resize(n);
    kl.resize(n);
    agrees.resize(n);
  }
};

/// Linear interpolation between the neighbours of the fractional rank.
double quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  const double rank = q * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::size_t>(rank);
  const std::size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (rank - static_cast<double>(below)) * (values[above] - values[below]);
}

}  // namespace

DivergenceResult compare(const Engine& reference, const Engine& model,
                         std::span<const std::int32_t> ids, std::size_t bytes, std::int64_t seq_len,
                         const ProgressFn& progress) {
  check(
      reference.vocab_rows() == model.vocab_rows() && reference.vocab_size() == model.vocab_size(),
      ErrorCode::invalid_argument,
      "the vocabularies differ: {} ids in {} rows in the reference, {} in {} in the model",
      reference.vocab_size(), reference.vocab_rows(), model.vocab_size(), model.vocab_rows());
  check_scored_ids(ids, reference);
  const std::int64_t stride = model.vocab_rows();
  const auto vocab = static_cast<std::size_t>(model.vocab_size());
  Engine::Impl& impl = *model.impl();

  Scores scores;
  const auto score_rows = [&](const std::int32_t* targets, std::int64_t rows, const float* p,
                              const float* q) {
    const std::size_t scored = scores.kl.size();
    scores.resize(scored + static_cast<std::size_t>(rows));
    const std::lock_guard lock(impl.mutex);
    impl.threads.parallel_for(rows, 1, [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t r = begin; r < end; ++r) {
        const std::span<const float> p_row(p + r * stride, vocab), q_row(q + r * stride, vocab);
        const double p_lse = log_sum_exp(p_row), q_lse = log_sum_exp(q_row);
        const auto target = static_cast<std::size_t>(targets[r]);
        const std::size_t i = scored + static_cast<std::size_t>(r);
        scores.reference_nll[i] = p_lse - p_row[target];
        scores.model_nll[i] = q_lse - q_row[target];
        scores.kl[i] = kl_divergence(p_row, p_lse, q_row, q_lse);
        scores.agrees[i] = argmax(p_row) == argmax(q_row);
      }
    });
  };

  std::int64_t windows = 0;
  const auto chunk =
      static_cast<std::size_t>(std::min(logits_chunk(reference), logits_chunk(model)));
  SequenceState reference_state(reference.impl()->model->state_layout());
  SequenceState model_state(impl.model->state_layout());
  for_each_window(ids, seq_len, progress, [&](std::span<const std::int32_t> window) {
    ++windows;
    reference_state.reset();
    model_state.reset();
    // Both go through the window side by side, so that only one chunk of logits of each exists.
    for (std::size_t first = 0; first + 1 < window.size(); first += chunk) {
      const auto part = window.subspan(first, std::min(chunk, window.size() - 1 - first));
      forward_logits(
          reference, part, reference_state, [&](auto, std::int64_t rows, const float* p) {
            forward_logits(model, part, model_state, [&](auto, std::int64_t, const float* q) {
              score_rows(window.data() + first + 1, rows, p, q);
            });
          });
    }
  });

  const std::size_t n = scores.kl.size();
  std::vector<double> difference(n);
  for (std::size_t i = 0; i < n; ++i) difference[i] = scores.model_nll[i] - scores.reference_nll[i];
  DivergenceResult result;
  result.reference = summarize(scores.reference_nll, windows, bytes);
  result.model = summarize(scores.model_nll, windows, bytes);
  const Mean mean_difference = mean_of(difference);
  result.nll_difference = mean_difference.value;
  result.nll_difference_error = mean_difference.error;
  result.kl_mean = mean_of(scores.kl).value;
  result.kl_p999 = quantile(scores.kl, 0.999);
  result.kl_max = *std::max_element(scores.kl.begin(), scores.kl.end());
  result.top1_agreement =
      static_cast<double>(std::count(scores.agrees.begin(), scores.agrees.end(), 1)) /
      static_cast<double>(n);
  return result;
}

}  // namespace krait
