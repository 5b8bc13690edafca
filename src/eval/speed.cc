#include "eval/speed.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <optional>

#include "core/float16.h"
#include "core/memory.h"
#include "core/rng.h"
#include "eval/windows.h"
#include "runtime/engine_access.h"

namespace krait {
namespace {

/// Multiplications and additions that one token costs in prefill.
struct Work {
  double int8_ops = 0, float_ops = 0;
};

/// Counts what products multiply.
class WorkTap final : public Tap {
 public:
  explicit WorkTap(std::string left_out) : left_out_(std::move(left_out)) {}
  void observe(int, const Activation&) override {}
  void product(const Weight& weight, const Activation& x) override {
    if (weight.name == left_out_) return;
    const double ops = 2.0 * static_cast<double>(x.rows * weight.rows() * weight.cols());
    if (weight.data.dtype() == DType::i8 && x.dtype == DType::f32) {
      work.int8_ops += 2 * ops;  // two digits
    } else {
      (is_float(weight.data.dtype()) || x.dtype == DType::f32 ? work.float_ops : work.int8_ops) +=
          ops;
    }
  }
  Work work;

 private:
  std::string left_out_;
};

/// Prefill needs the head for the last token only: there it is left out.
Work work_per_token(Executor& executor, bool with_head) {
  const auto& linears = executor.model().layout().linears;
  const auto head = std::find_if(linears.begin(), linears.end(),
                                 [](const LinearSite& site) { return site.role == "lm_head"; });
  std::string left_out;
  if (!with_head && head != linears.end()) {
    left_out = head->tied_to.empty() ? head->name : head->tied_to;
  }
  WorkTap tap(std::move(left_out));
  SequenceState state = executor.new_state();
  std::vector<float> logits(static_cast<std::size_t>(executor.model().info().vocab_rows));
  const std::int32_t ids[] = {0};
  const Step step{state, ids, LogitRows::last, logits.data()};
  executor.run({&step, 1}, &tap);
  return tap.work;
}

std::vector<std::int32_t> random_ids(const Engine& engine, int count) {
  Rng rng(1);
  std::vector<std::int32_t> ids(static_cast<std::size_t>(count));
  for (std::int32_t& id : ids) {
    id = static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(engine.vocab_size())));
  }
  return ids;
}

/// Makes of the state one that has consumed `depth` tokens: the rows that attention keeps of them
/// are random, as the time of a token depends on their number only.
void deepen(SequenceState& state, int depth) {
  state.reset();
  if (depth == 0) return;
  state.reserve(depth);
  Rng rng(2);
  for (std::size_t i = 0; i < state.layout().buffers.size(); ++i) {
    const StateBuffer& buffer = state.layout().buffers[i];
    if (!buffer.per_token) continue;
    const auto count = static_cast<std::size_t>(depth * buffer.shape.elements());
    for (std::size_t j = 0; j < count; ++j) {
      const auto value = static_cast<float>(0.01 + 0.01 * rng.uniform());
      if (buffer.dtype == DType::f32) static_cast<float*>(state.buffer(i))[j] = value;
      if (buffer.dtype == DType::f16) {
        static_cast<std::uint16_t*>(state.buffer(i))[j] = f32_to_f16(value);
      }
      if (buffer.dtype == DType::i8) {
        static_cast<std::int8_t*>(state.buffer(i))[j] = static_cast<std::int8_t>(rng.below(128));
      }
    }
  }
  state.advance(depth);
}

/// A test, ready to be run.
struct Job {
  SpeedTest test;
  std::vector<std::int32_t> ids;
  Work work{};  // per token of one sequence
};

/// Tokens per second of consuming a job's tokens from states of its depth.
double run(Executor& executor, std::vector<SequenceState>& states, const Job& job) {
  const auto sequences = static_cast<std::size_t>(job.test.sequences);
  const auto vocab = static_cast<std::size_t>(executor.model().info().vocab_rows);
  std::vector<float> logits(sequences * vocab);
  for (std::size_t s = 0; s < sequences; ++s) deepen(states[s], job.test.depth);
  const auto start = std::chrono::steady_clock::now();
  if (job.test.decode) {
    for (const std::int32_t id : job.ids) {
      std::vector<Step> steps;
      for (std::size_t s = 0; s < sequences; ++s) {
        steps.push_back({states[s], {&id, 1}, LogitRows::last, logits.data() + s * vocab});
      }
      executor.run(steps);
    }
  } else {
    executor.read(job.ids, states.front(), LogitRows::last, logits.data());
  }
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
  return static_cast<double>(job.ids.size() * sequences) / std::max(taken.count(), 1e-9);
}

/// Seconds that the multipliers need at least for a token.
double compute_seconds(const Work& work, const MachinePeaks& peaks) {
  return work.int8_ops / peaks.int8_ops + work.float_ops / peaks.fp32_flops;
}

/// What limits a test on a machine, if nothing else does.
std::string bound_of(const SpeedResult& result, const Work& work, const MachinePeaks& peaks) {
  const double memory = result.bytes_per_step / peaks.read_bandwidth;
  if (memory > result.test.sequences * compute_seconds(work, peaks)) return "read bandwidth";
  return work.int8_ops > work.float_ops ? "int8 peak" : "fp32 peak";
}

/// What the last of the rates reaches of the bound.
double fraction_of_bound(const SpeedResult& result, const Work& work, const MachinePeaks& peaks) {
  const double rate = result.rates.back();
  if (result.bound == "read bandwidth") {
    return rate / result.test.sequences * result.bytes_per_step / peaks.read_bandwidth;
  }
  return rate * compute_seconds(work, peaks);
}

MachinePeaks between(const MachinePeaks& a, const MachinePeaks& b) {
  return {.read_bandwidth = 0.5 * (a.read_bandwidth + b.read_bandwidth),
          .int8_ops = 0.5 * (a.int8_ops + b.int8_ops),
          .fp32_flops = 0.5 * (a.fp32_flops + b.fp32_flops)};
}

}  // namespace

std::string SpeedTest::name() const {
  std::string text = fmt::format("{}{}", decode ? "tg" : "pp", tokens);
  if (sequences > 1) text += fmt::format(" x{}", sequences);
  if (depth > 0) text += fmt::format(" @ d{}", depth);
  return text;
}

MachinePeaks SpeedReport::median_peaks() const {
  const auto median = [&](double MachinePeaks::*peak) {
    std::vector<double> values;
    for (const MachinePeaks& p : peaks) values.push_back(p.*peak);
    return quantile(values, 0.5);
  };
  return {.read_bandwidth = median(&MachinePeaks::read_bandwidth),
          .int8_ops = median(&MachinePeaks::int8_ops),
          .fp32_flops = median(&MachinePeaks::fp32_flops)};
}

double step_bytes(std::size_t weight_bytes, const StateLayout& state, double rows, int sequences) {
  return static_cast<double>(weight_bytes) +
         sequences * (state.step_bytes + (rows + 1) * static_cast<double>(state.bytes_per_token));
}

SpeedReport measure_speed(const Engine& engine, std::span<const SpeedTest> tests, int repeats,
                          bool with_bounds, const ProgressFn& progress) {
  Executor& executor = executor_of(engine);
  const Model& model = executor.model();
  int most = 1;
  for (const SpeedTest& test : tests) most = std::max(most, test.sequences);
  std::vector<SequenceState> states;
  for (int s = 0; s < most; ++s) states.push_back(executor.new_state());

  SpeedReport report;
  std::vector<Job> jobs;
  for (const SpeedTest& test : tests) {
    SpeedResult& result = report.results.emplace_back(SpeedResult{.test = test});
    if (test.decode) {
      const double rows = test.depth + 0.5 * (test.tokens + 1);  // on average over the test
      result.bytes_per_step =
          step_bytes(model.weight_bytes(), *model.state_layout(), rows, test.sequences);
    }
    jobs.push_back({test, random_ids(engine, test.tokens), work_per_token(executor, test.decode)});
    // The warm-up touches every weight and lets the clock of the CPU settle.
    Job warm_up = jobs.back();
    if (test.decode) warm_up.ids.resize(static_cast<std::size_t>(std::min(test.tokens, 8)));
    run(executor, states, warm_up);
    result.state_bytes = states.front().bytes();
  }
  report.peak_rss = peak_rss_bytes();

  std::optional<ThreadPool> threads;
  const auto measure_peaks = [&] {
    if (!threads) threads.emplace(engine.threads());
    report.peaks.push_back(measure_machine(*threads, executor.isa()));
  };
  if (with_bounds) {
    measure_peaks();
    for (std::size_t i = 0; i < jobs.size(); ++i) {
      report.results[i].bound = bound_of(report.results[i], jobs[i].work, report.peaks.front());
    }
  }
  for (int repeat = 0; repeat < repeats; ++repeat) {
    for (std::size_t i = 0; i < jobs.size(); ++i) {
      SpeedResult& result = report.results[i];
      if (progress) progress({result.test.name(), repeat, repeats, "runs"});
      result.rates.push_back(run(executor, states, jobs[i]));
      if (!with_bounds) continue;
      measure_peaks();
      const MachinePeaks around = between(report.peaks.end()[-2], report.peaks.back());
      result.fractions.push_back(fraction_of_bound(result, jobs[i].work, around));
    }
  }
  return report;
}

}  // namespace krait
