// Which rows of a batch belong to which sequence: what the operations take that carry a state from
// token to token.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

namespace krait {

/// Rows [begin, end) of the batch are tokens of one sequence, the first of them at `position`.
///
/// With `history` > 0 the states before each of the last min(history, end - begin) tokens are kept
/// too, so that the sequence can go back: that before the token at position p is copied from the
/// state to its address + (1 + p % history) * stride bytes.
struct SequenceRows {
  std::int64_t begin = 0, end = 0, position = 0;
  std::int64_t history = 0, stride = 0;

  std::int64_t tokens() const noexcept { return end - begin; }
  /// Bytes from a state to the copy of it before the token at `at`.
  std::int64_t copy_offset(std::int64_t at) const noexcept { return (1 + at % history) * stride; }
};

/// A sequence of a batch and what an operation keeps of it, which is read and updated.
template <typename State>
struct SequenceRun {
  SequenceRows rows;
  State state;
};

/// run(sequences), for an operation on the CPU: with stops where a state has to be kept. Then
/// copy(state, offset) copies each of its buffers to `offset` bytes behind it. How a text is cut
/// into calls must change no bit.
template <typename State, typename Run, typename Copy>
void run_with_history(std::span<const SequenceRun<State>> sequences, Run&& run, Copy&& copy) {
  const auto kept = [](const SequenceRows& rows) { return std::min(rows.history, rows.tokens()); };
  std::int64_t most = 0;
  for (const SequenceRun<State>& sequence : sequences) most = std::max(most, kept(sequence.rows));
  if (most == 0) return run(sequences);
  std::vector<SequenceRun<State>> part(sequences.begin(), sequences.end());
  for (SequenceRun<State>& sequence : part) sequence.rows.end -= kept(sequence.rows);
  run(std::span<const SequenceRun<State>>(part));
  for (std::int64_t left = most; left > 0; --left) {
    part.clear();
    for (const SequenceRun<State>& sequence : sequences) {
      if (kept(sequence.rows) < left) continue;
      SequenceRows rows = sequence.rows;
      rows.position += rows.tokens() - left;
      rows.begin = rows.end - left;
      rows.end = rows.begin + 1;
      copy(sequence.state, rows.copy_offset(rows.position));
      part.push_back({rows, sequence.state});
    }
    run(std::span<const SequenceRun<State>>(part));
  }
}

}  // namespace krait
