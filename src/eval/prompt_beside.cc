#include "eval/prompt_beside.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <vector>

#include "core/rng.h"
#include "eval/windows.h"
#include "runtime/engine_access.h"
#include "runtime/scheduler.h"

namespace krait {
namespace {

using Clock = std::chrono::steady_clock;

double seconds(Clock::duration d) { return std::chrono::duration<double>(d).count(); }

std::vector<std::int32_t> random_ids(Rng& rng, const Engine& engine, int count) {
  std::vector<std::int32_t> ids(static_cast<std::size_t>(count));
  for (std::int32_t& id : ids) {
    id = static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(engine.vocab_size())));
  }
  return ids;
}

GenerateOptions endless() { return {.max_tokens = 1 << 20, .temperature = 0, .ignore_eos = true}; }

/// Steps until `request` has its first token; the times of all others' tokens.
std::map<std::uint64_t, std::vector<Clock::time_point>> run_until_token(Scheduler& scheduler,
                                                                        std::uint64_t request) {
  std::map<std::uint64_t, std::vector<Clock::time_point>> times;
  for (;;) {
    for (const Event& event : scheduler.step()) {
      if (event.error) throw *event.error;
      if (!event.token) continue;
      if (event.request == request) return times;
      times[event.request].push_back(Clock::now());
    }
  }
}

std::vector<double> gaps_of(const std::map<std::uint64_t, std::vector<Clock::time_point>>& times) {
  std::vector<double> gaps;
  for (const auto& [request, at] : times) {
    for (std::size_t i = 1; i < at.size(); ++i) gaps.push_back(seconds(at[i] - at[i - 1]));
  }
  return gaps;
}

}  // namespace

PromptBeside measure_prompt_beside(const Engine& engine, int tokens, int sequences) {
  PromptBeside result{.tokens = tokens, .sequences = sequences};
  const auto layout = model_of(engine).state_layout();
  Rng rng(1);
  const std::vector<std::int32_t> prompt = random_ids(rng, engine, tokens);
  const auto rate = [&](Scheduler& scheduler) {
    Sequence reader = new_sequence(layout, nullptr);
    const auto start = Clock::now();
    const auto request = scheduler.submit(reader, prompt, endless());
    const auto times = run_until_token(scheduler, request);
    const double taken = seconds(Clock::now() - start);
    scheduler.cancel(request);
    scheduler.step();
    const std::vector<double> gaps = gaps_of(times);
    if (!gaps.empty()) {
      result.longest_gap = *std::max_element(gaps.begin(), gaps.end());
      result.median_gap = quantile(gaps, 0.5);
    }
    return tokens / taken;
  };

  Scheduler alone(EngineAccess::model(engine));
  result.alone = rate(alone);

  Scheduler scheduler(EngineAccess::model(engine));
  std::vector<Sequence> decoding(static_cast<std::size_t>(sequences),
                                 new_sequence(layout, nullptr));
  std::uint64_t last = 0;
  for (Sequence& sequence : decoding) {
    last = scheduler.submit(sequence, random_ids(rng, engine, 16), endless());
  }
  run_until_token(scheduler, last);
  std::map<std::uint64_t, std::vector<Clock::time_point>> times;
  for (int step = 0; step < 20; ++step) {
    for (const Event& event : scheduler.step()) times[event.request].push_back(Clock::now());
  }
  result.gap_without = quantile(gaps_of(times), 0.5);
  result.beside = rate(scheduler);
  return result;
}

}  // namespace krait
