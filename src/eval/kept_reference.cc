#include "eval/kept_reference.h"

#include "eval/paired_rows.h"
#include "eval/score.h"
#include "eval/windows.h"
#include "runtime/engine_access.h"

namespace krait {

KeptReference::KeptReference(const Engine& engine, std::span<const std::int32_t> ids,
                             std::int64_t seq_len, std::size_t bytes)
    : engine_(engine), ids_(ids), seq_len_(seq_len) {
  check_scored_ids(ids, engine);
  const auto stride = static_cast<std::size_t>(engine.vocab_rows());
  SequenceState state = executor_of(engine).new_state();
  bool has_room = true;
  for_each_window(ids, seq_len, {}, [&](std::span<const std::int32_t> window) {
    const std::size_t size = (window.size() - 1) * stride;
    has_room = has_room && size * sizeof(float) <= bytes;
    if (!has_room) return;
    bytes -= size * sizeof(float);
    std::vector<float>& kept = logits_.emplace_back();
    kept.reserve(size);
    state.reset();
    forward_logits(executor_of(engine), window.first(window.size() - 1), state,
                   [&](std::int64_t, std::int64_t rows, const float* logits) {
                     kept.insert(kept.end(), logits, logits + rows * engine.vocab_rows());
                   });
  });
}

double KeptReference::divergence_of(const Engine& model) const {
  check_same_vocabulary(engine_, model);
  std::vector<double> kl;
  const auto add = [&](std::int64_t, std::span<const PairedScore> rows) {
    for (const PairedScore& row : rows) kl.push_back(row.kl);
  };
  PairedStates states(engine_, model);
  std::size_t window_index = 0;
  for_each_window(ids_, seq_len_, {}, [&](std::span<const std::int32_t> window) {
    states.reset();
    if (window_index < logits_.size()) {
      for_each_row_beside(logits_[window_index], model, window, states.model, add);
    } else {
      for_each_paired_row(engine_, model, window, states, add);
    }
    ++window_index;
  });
  return mean_of(kl).value;
}

}  // namespace krait
