#include "eval/continuations.h"

#include <algorithm>

#include "runtime/engine_access.h"
#include "runtime/softmax.h"

namespace krait {
namespace {

using Ids = std::vector<std::int32_t>;

constexpr std::size_t kStateBytes = std::size_t{256} << 20;  // of all copies of a state, about

/// What a row of logits says of the token that follows it.
struct TokenScore {
  double log_likelihood = 0;
  bool is_greedy = false;
};

void add(Likelihood& likelihood, const TokenScore& token) {
  if (likelihood.tokens == 0) likelihood.first_is_greedy = token.is_greedy;
  likelihood.log_likelihood += token.log_likelihood;
  likelihood.is_greedy &= token.is_greedy;
  ++likelihood.tokens;
}

/// Rows of logits [targets, stride], the first `vocab` of each in use, on all threads.
std::vector<TokenScore> score_rows(ThreadPool& threads, const float* logits, std::size_t stride,
                                   std::size_t vocab, const Ids& targets) {
  std::vector<TokenScore> scores(targets.size());
  threads.parallel_for(
      static_cast<std::int64_t>(targets.size()), 1, [&](std::int64_t begin, std::int64_t end, int) {
        for (auto r = static_cast<std::size_t>(begin); r < static_cast<std::size_t>(end); ++r) {
          const std::span<const float> row(logits + r * stride, vocab);
          const auto id = static_cast<std::size_t>(targets[r]);
          scores[r] = {row[id] - log_sum_exp(row), argmax(row) == targets[r]};
        }
      });
  return scores;
}

/// The tokens after the first of each continuation, all in one pass.
void score_rest(const Engine& engine, const SequenceState& context,
                std::span<const Ids> continuations, std::span<Likelihood> out) {
  Executor& executor = executor_of(engine);
  const auto rows = static_cast<std::size_t>(engine.vocab_rows());
  Ids targets;
  for (const Ids& continuation : continuations) {
    targets.insert(targets.end(), continuation.begin() + 1, continuation.end());
  }
  if (targets.empty()) return;
  std::vector<float> logits(targets.size() * rows);
  float* next = logits.data();
  std::vector<SequenceState> states;
  states.reserve(continuations.size());
  std::vector<Step> steps;
  for (const Ids& continuation : continuations) {
    const std::span<const std::int32_t> ids(continuation.data(), continuation.size() - 1);
    if (ids.empty()) continue;
    steps.push_back({states.emplace_back(context), ids, LogitRows::all, next});
    next += ids.size() * rows;
  }
  executor.run(steps);
  const std::vector<TokenScore> scores = executor.exclusively([&](Context& ctx) {
    return score_rows(ctx.threads, logits.data(), rows,
                      static_cast<std::size_t>(engine.vocab_size()), targets);
  });
  auto score = scores.begin();
  for (std::size_t i = 0; i < continuations.size(); ++i) {
    for (std::size_t k = 1; k < continuations[i].size(); ++k) add(out[i], *score++);
  }
}

}  // namespace

std::vector<Likelihood> score_continuations(const Engine& engine, const SequenceState& context,
                                            std::span<const float> first_logits,
                                            std::span<const Ids> continuations) {
  const std::span<const float> first =
      first_logits.first(static_cast<std::size_t>(engine.vocab_size()));
  const double first_sum = log_sum_exp(first);
  const std::int64_t first_best = argmax(first);
  std::vector<Likelihood> result(continuations.size());
  for (std::size_t i = 0; i < continuations.size(); ++i) {
    const std::int32_t id = continuations[i].front();
    add(result[i], {first[static_cast<std::size_t>(id)] - first_sum, id == first_best});
  }
  const std::size_t most =
      std::max<std::size_t>(kStateBytes / std::max<std::size_t>(context.bytes(), 1), 1);
  for (std::size_t begin = 0; begin < continuations.size(); begin += most) {
    const std::size_t count = std::min(most, continuations.size() - begin);
    score_rest(engine, context, continuations.subspan(begin, count),
               std::span(result).subspan(begin, count));
  }
  return result;
}

}  // namespace krait
