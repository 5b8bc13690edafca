#include "eval/perplexity.h"

#include <vector>

#include "eval/score.h"
#include "eval/windows.h"
#include "runtime/engine_access.h"
#include "runtime/softmax.h"

namespace krait {

PerplexityResult perplexity(const Engine& engine, std::span<const std::int32_t> ids,
                            std::size_t bytes, std::int64_t seq_len, const ProgressFn& progress) {
  Executor& executor = executor_of(engine);
  const std::int64_t stride = engine.vocab_rows();
  const auto vocab = static_cast<std::size_t>(engine.vocab_size());
  check_scored_ids(ids, engine);
  std::vector<double> nll;
  std::int64_t windows = 0;
  SequenceState state = executor.new_state();
  for_each_window(ids, seq_len, progress, [&](std::span<const std::int32_t> window) {
    state.reset();
    ++windows;
    const auto score = [&](std::int64_t first, std::int64_t rows, const float* logits) {
      const std::size_t scored = nll.size();
      nll.resize(scored + static_cast<std::size_t>(rows));
      executor.exclusively([&](Context& ctx) {
        ctx.threads.parallel_for(rows, 1, [&](std::int64_t begin, std::int64_t end, int) {
          for (std::int64_t r = begin; r < end; ++r) {
            const float* row = logits + r * stride;
            const auto target = window[static_cast<std::size_t>(first + r) + 1];
            nll[scored + static_cast<std::size_t>(r)] = log_sum_exp({row, vocab}) - row[target];
          }
        });
      });
    };
    forward_logits(executor, window.first(window.size() - 1), state, score);
  });
  return summarize(nll, windows, bytes);
}

}  // namespace krait
