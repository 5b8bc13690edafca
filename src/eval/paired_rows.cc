#include "eval/paired_rows.h"

#include <algorithm>
#include <vector>

#include "core/check.h"
#include "runtime/engine_access.h"
#include "runtime/softmax.h"

namespace krait {

PairedStates::PairedStates(const Engine& reference_engine, const Engine& model_engine)
    : reference(executor_of(reference_engine).new_state()),
      model(executor_of(model_engine).new_state()) {}

void PairedStates::reset() {
  reference.reset();
  model.reset();
}

void check_same_vocabulary(const Engine& reference, const Engine& model) {
  check(
      reference.vocab_rows() == model.vocab_rows() && reference.vocab_size() == model.vocab_size(),
      ErrorCode::invalid_argument,
      "the vocabularies differ: {} ids in {} rows in the reference, {} in {} in the model",
      reference.vocab_size(), reference.vocab_rows(), model.vocab_size(), model.vocab_rows());
}

namespace {

/// Scores of rows of logits p of the reference and q of the model, on all threads of the model.
void score_rows(const Engine& model, const std::int32_t* targets, std::int64_t rows, const float* p,
                const float* q, std::vector<PairedScore>& scores) {
  const std::int64_t stride = model.vocab_rows();
  const auto vocab = static_cast<std::size_t>(model.vocab_size());
  scores.resize(static_cast<std::size_t>(rows));
  const auto score_range = [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t r = begin; r < end; ++r) {
      const std::span<const float> p_row(p + r * stride, vocab), q_row(q + r * stride, vocab);
      const double p_lse = log_sum_exp(p_row), q_lse = log_sum_exp(q_row);
      const auto target = static_cast<std::size_t>(targets[r]);
      PairedScore& score = scores[static_cast<std::size_t>(r)];
      score.reference_nll = p_lse - p_row[target];
      score.model_nll = q_lse - q_row[target];
      score.kl = kl_divergence(p_row, p_lse, q_row, q_lse);
      score.agrees = argmax(p_row) == argmax(q_row);
    }
  };
  executor_of(model).exclusively(
      [&](Context& ctx) { ctx.threads.parallel_for(rows, 1, score_range); });
}

}  // namespace

void for_each_paired_row(const Engine& reference, const Engine& model,
                         std::span<const std::int32_t> window, PairedStates& states,
                         const PairedRowsFn& fn) {
  Executor &theirs = executor_of(reference), &ours = executor_of(model);
  const auto chunk = static_cast<std::size_t>(std::min(logits_chunk(theirs), logits_chunk(ours)));
  std::vector<PairedScore> scores;
  for (std::size_t first = 0; first + 1 < window.size(); first += chunk) {
    const auto part = window.subspan(first, std::min(chunk, window.size() - 1 - first));
    forward_logits(theirs, part, states.reference, [&](auto, std::int64_t rows, const float* p) {
      forward_logits(ours, part, states.model, [&](auto, std::int64_t, const float* q) {
        score_rows(model, window.data() + first + 1, rows, p, q, scores);
        fn(static_cast<std::int64_t>(first), scores);
      });
    });
  }
}

void for_each_row_beside(std::span<const float> reference, const Engine& model,
                         std::span<const std::int32_t> window, SequenceState& state,
                         const PairedRowsFn& fn) {
  std::vector<PairedScore> scores;
  const auto score = [&](std::int64_t first, std::int64_t rows, const float* q) {
    const float* p = reference.data() + first * model.vocab_rows();
    score_rows(model, window.data() + first + 1, rows, p, q, scores);
    fn(first, scores);
  };
  forward_logits(executor_of(model), window.first(window.size() - 1), state, score);
}

}  // namespace krait
