#include "eval/divergence.h"

#include <algorithm>
#include <vector>

#include "eval/bootstrap.h"
#include "eval/paired_rows.h"
#include "eval/score.h"
#include "eval/windows.h"

namespace krait {
namespace {

/// Per scored token.
struct Scores {
  std::vector<double> reference_nll, model_nll, kl;
  double agreed = 0;

  void add(const PairedScore& score) {
    reference_nll.push_back(score.reference_nll);
    model_nll.push_back(score.model_nll);
    kl.push_back(score.kl);
    agreed += score.agrees ? 1 : 0;
  }
};

}  // namespace

DivergenceResult compare(const Engine& reference, const Engine& model,
                         std::span<const std::int32_t> ids, std::size_t bytes, std::int64_t seq_len,
                         const ProgressFn& progress) {
  check_same_vocabulary(reference, model);
  check_scored_ids(ids, reference);
  Scores scores;
  std::int64_t windows = 0;
  PairedStates states(reference, model);
  for_each_window(ids, seq_len, progress, [&](std::span<const std::int32_t> window) {
    ++windows;
    states.reset();
    for_each_paired_row(reference, model, window, states,
                        [&](std::int64_t, std::span<const PairedScore> rows) {
                          for (const PairedScore& row : rows) scores.add(row);
                        });
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
  result.nll_difference_interval = bootstrap_interval(difference);
  result.kl_mean = mean_of(scores.kl).value;
  result.kl_interval = bootstrap_interval(scores.kl);
  result.kl_p999 = quantile(scores.kl, 0.999);
  result.kl_max = *std::max_element(scores.kl.begin(), scores.kl.end());
  result.top1_agreement = scores.agreed / static_cast<double>(n);
  return result;
}

}  // namespace krait
