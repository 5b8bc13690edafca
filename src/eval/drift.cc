#include "eval/drift.h"

#include <algorithm>
#include <functional>

#include "core/check.h"
#include "eval/paired_rows.h"
#include "eval/score.h"
#include "runtime/engine_access.h"
#include "runtime/softmax.h"

namespace krait {
namespace {

using enum ErrorCode;
using Ids = std::vector<std::int32_t>;

constexpr std::int64_t kFirstBin = 16;  // tokens; each of the others is as long as all before it

/// Greedy continuations of all prompts, [prompts][tokens].
std::vector<Ids> continue_greedily(const Engine& engine,
                                   std::span<const std::span<const std::int32_t>> prompts,
                                   std::int64_t tokens, const std::function<void()>& done) {
  Executor& executor = executor_of(engine);
  const auto rows = static_cast<std::size_t>(engine.vocab_rows());
  const auto vocab = static_cast<std::size_t>(engine.vocab_size());
  std::vector<SequenceState> states(prompts.size(), executor.new_state());
  std::vector<float> logits(prompts.size() * rows);
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    executor.read(prompts[i], states[i], LogitRows::last, logits.data() + i * rows);
  }
  std::vector<Ids> texts(prompts.size());
  for (std::int64_t t = 0; t < tokens; ++t) {
    Ids next;
    for (std::size_t i = 0; i < prompts.size(); ++i) {
      next.push_back(static_cast<std::int32_t>(
          argmax(std::span<const float>(logits).subspan(i * rows, vocab))));
      texts[i].push_back(next.back());
    }
    std::vector<Step> steps;
    for (std::size_t i = 0; i < prompts.size(); ++i) {
      steps.push_back({states[i], {&next[i], 1}, LogitRows::last, logits.data() + i * rows});
    }
    executor.run(steps);
    done();
  }
  return texts;
}

/// Sums of one window's tokens that lie in one bin.
struct BinSums {
  double kl = 0, nll_difference = 0, agreement = 0, tokens = 0;
};

std::size_t bin_of(std::int64_t position) {
  std::size_t bin = 0;
  for (std::int64_t end = kFirstBin; position >= end; end *= 2) ++bin;
  return bin;
}

/// Means over windows of each window's mean in a bin.
std::vector<DriftBin> bins_of(const std::vector<std::vector<BinSums>>& windows) {
  std::vector<DriftBin> bins;
  for (std::size_t b = 0; b < windows.front().size(); ++b) {
    std::vector<double> kl, nll, agreement;
    for (const std::vector<BinSums>& window : windows) {
      const BinSums& sums = window[b];
      if (sums.tokens == 0) continue;
      kl.push_back(sums.kl / sums.tokens);
      nll.push_back(sums.nll_difference / sums.tokens);
      agreement.push_back(sums.agreement / sums.tokens);
    }
    DriftBin bin{.begin = b == 0 ? 1 : kFirstBin << (b - 1), .end = kFirstBin << b};
    bin.kl = mean_of(kl);
    bin.nll_difference = mean_of(nll);
    bin.agreement = mean_of(agreement);
    bins.push_back(bin);
  }
  return bins;
}

}  // namespace

DriftResult drift(const Engine& reference, const Engine& model, std::span<const std::int32_t> ids,
                  const DriftOptions& options, const ProgressFn& progress) {
  check(options.prompts >= 1 && options.prompt_tokens >= 1 && options.generated >= 0,
        invalid_argument, "drift needs at least 1 prompt of 1 token, got {} of {}", options.prompts,
        options.prompt_tokens);
  check_same_vocabulary(reference, model);
  check_scored_ids(ids, reference);
  const auto available = static_cast<std::int64_t>(ids.size());
  check(available >= options.prompt_tokens + 2 && options.read >= 2, invalid_argument,
        "drift needs a text of at least {} tokens and windows of 2, got {} and {}",
        options.prompt_tokens + 2, available, options.read);
  const std::int64_t window = std::min(options.read, available);
  const std::int64_t longest = std::max(window, options.prompt_tokens);
  std::vector<std::span<const std::int32_t>> prompts, texts;
  for (std::int64_t i = 0; i < options.prompts; ++i) {
    const std::int64_t begin =
        options.prompts == 1 ? 0 : i * (available - longest) / (options.prompts - 1);
    const auto from = ids.subspan(static_cast<std::size_t>(begin));
    prompts.push_back(from.first(static_cast<std::size_t>(options.prompt_tokens)));
    texts.push_back(from.first(static_cast<std::size_t>(window)));
  }

  Progress report{"drift", 0, 2 * options.generated * options.prompts + window * options.prompts,
                  "tokens"};
  const auto advance = [&](std::int64_t tokens) {
    report.done += tokens;
    if (progress) progress(report);
  };
  const auto step = [&] { advance(options.prompts); };
  const std::vector<Ids> theirs = continue_greedily(reference, prompts, options.generated, step);
  const std::vector<Ids> ours = continue_greedily(model, prompts, options.generated, step);
  DriftResult result;
  result.generated = options.generated;
  for (std::size_t i = 0; i < ours.size(); ++i) {
    const auto differs = std::mismatch(ours[i].begin(), ours[i].end(), theirs[i].begin()).first;
    result.agreed.push_back(static_cast<double>(differs - ours[i].begin()));
    result.unchanged += differs == ours[i].end() ? 1 : 0;
  }
  result.unchanged /= static_cast<double>(ours.size());
  result.agreed_median = quantile(result.agreed, 0.5);
  result.agreed_low = quantile(result.agreed, 0.25);
  result.agreed_high = quantile(result.agreed, 0.75);

  std::vector<std::vector<BinSums>> sums(texts.size(),
                                         std::vector<BinSums>(bin_of(window - 1) + 1));
  PairedStates states(reference, model);
  for (std::size_t i = 0; i < texts.size(); ++i) {
    states.reset();
    for_each_paired_row(reference, model, texts[i], states,
                        [&](std::int64_t first, std::span<const PairedScore> rows) {
                          for (std::size_t r = 0; r < rows.size(); ++r) {
                            const std::int64_t read = first + static_cast<std::int64_t>(r) + 1;
                            BinSums& bin = sums[i][bin_of(read)];
                            bin.kl += rows[r].kl;
                            bin.nll_difference += rows[r].model_nll - rows[r].reference_nll;
                            bin.agreement += rows[r].agrees ? 1 : 0;
                            bin.tokens += 1;
                          }
                        });
    advance(window);
  }
  result.bins = bins_of(sums);
  return result;
}

}  // namespace krait
