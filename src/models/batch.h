// What one forward pass is about: tokens of sequences, and what is computed once for all layers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/sequences.h"
#include "models/state.h"

namespace krait {

/// After which tokens of a sequence logits are wanted: none, its last one or all.
enum class LogitRows { none, last, all };

/// Token ids of one or more sequences, concatenated: sequence i is ids[cu_seqlens[i]] up to
/// ids[cu_seqlens[i + 1]], continuing from *states[i], which is updated. Prefill and decode are the
/// same call: a decode step is a batch of sequences of one token each, and both may be mixed. A
/// sequence of no tokens is left as it is and has no logits.
struct Batch {
  std::span<const std::int32_t> ids;
  std::span<const std::int32_t> cu_seqlens;  ///< [sequences + 1], from 0 to ids.size()
  std::span<SequenceState* const> states;    ///< [sequences]
  std::span<const LogitRows> rows = {};      ///< [sequences]; empty: no logits of any

  std::int64_t tokens() const noexcept { return static_cast<std::int64_t>(ids.size()); }
};

/// Rows of logits that a sequence of so many tokens gets.
constexpr std::int64_t logit_rows(LogitRows rows, std::int64_t tokens) noexcept {
  if (rows == LogitRows::none) return 0;
  return rows == LogitRows::all || tokens == 0 ? tokens : 1;
}

/// cos and sin of the batch's positions, [T, half] each.
struct Angles {
  const float *cos = nullptr, *sin = nullptr;
};

struct Pass {
  const Batch& batch;
  std::vector<SequenceRows> rows;   ///< of each sequence
  std::vector<Angles> angles = {};  ///< of each of the model's kinds of rotary positions
};

/// What an operation keeps of each sequence of the batch: keeps(state).
template <typename Fn>
auto runs_of(const Pass& pass, Fn&& keeps) {
  std::vector<SequenceRun<decltype(keeps(*pass.batch.states[0]))>> runs;
  for (std::size_t i = 0; i < pass.rows.size(); ++i) {
    runs.push_back({pass.rows[i], keeps(*pass.batch.states[i])});
  }
  return runs;
}

}  // namespace krait
