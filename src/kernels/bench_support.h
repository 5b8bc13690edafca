// What the benchmarks of the operations share: one context per instruction set and the shapes of
// published models. Each benchmark's arguments are {isa, threads, model, tokens}.
#pragma once

#include <benchmark/benchmark.h>

#include <map>
#include <string>
#include <utility>

#include "core/rng.h"
#include "kernels/context.h"
#include "kernels/machine/machine.h"

namespace krait {

struct ModelShape {
  const char* name;
  std::int64_t d_model, d_inner, states, taps;
};
/// The last is for operations of Mamba-2 only.
inline constexpr ModelShape kModels[] = {
    {"130m", 768, 1536, 16, 4}, {"2.8b", 2560, 5120, 16, 4}, {"8b", 4096, 8192, 128, 4}};

/// What this machine can do with these threads, measured once.
inline const MachinePeaks& peaks_of(Isa isa, int threads) {
  static std::map<std::pair<Isa, int>, MachinePeaks> measured;
  const std::pair key(isa, threads);
  const auto found = measured.find(key);
  if (found != measured.end()) return found->second;
  ThreadPool pool(threads);
  return measured[key] = measure_machine(pool, isa);
}

/// The counter NAME/s, and "of_BOUND": its fraction of `peak` per second.
inline void count_rate(benchmark::State& state, const char* name, double per_call,
                       const char* bound, double peak) {
  const double total = per_call * static_cast<double>(state.iterations());
  state.counters[std::string(name) + "/s"] =
      benchmark::Counter(total, benchmark::Counter::kIsRate, benchmark::Counter::OneK::kIs1000);
  state.counters[std::string("of_") + bound] =
      benchmark::Counter(total / peak, benchmark::Counter::kIsRate);
}

struct BenchContext {
  explicit BenchContext(const benchmark::State& state)
      : isa(all_isas()[static_cast<std::size_t>(state.range(0))]),
        pool(static_cast<int>(state.range(1))),
        ctx{pool, microkernels(isa), arena},
        model(kModels[state.range(2)]),
        tokens(state.range(3)) {}

  /// n elements as the engine would hold them: aligned to cache lines. Uniform in [low, high].
  float* floats(std::int64_t n, double low = -1, double high = 1) {
    float* x = memory.take<float>(n);
    for (std::int64_t i = 0; i < n; ++i)
      x[i] = static_cast<float>(low + rng.uniform() * (high - low));
    return x;
  }
  std::int8_t* bytes(std::int64_t n) {
    std::int8_t* q = memory.take<std::int8_t>(n);
    for (std::int64_t i = 0; i < n; ++i) q[i] = static_cast<std::int8_t>(rng.next());
    return q;
  }

  /// Names the case and turns the iterations into time per token, bytes and operations per second.
  /// `fp32_ops`: two for each multiplication, fused or not, if these are what limits it.
  void report(benchmark::State& state, std::int64_t bytes_per_call, double fp32_ops = 0) const {
    state.SetLabel(std::string(name_of(isa)) + " " + model.name);
    const MachinePeaks& peaks = peaks_of(isa, pool.threads());
    count_rate(state, "bytes", static_cast<double>(bytes_per_call), "bandwidth",
               peaks.read_bandwidth);
    if (fp32_ops > 0) count_rate(state, "ops", fp32_ops, "fp32_peak", peaks.fp32_flops);
    state.counters["s_per_token"] =
        benchmark::Counter(static_cast<double>(state.iterations() * tokens),
                           benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
  }

  Isa isa;
  ThreadPool pool;
  Arena arena, memory;
  Rng rng{1};
  Context ctx;
  ModelShape model;
  std::int64_t tokens;
};

/// Every instruction set of this CPU on one thread, and its best on two.
inline void for_each_case(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"isa", "threads", "model", "tokens"})->UseRealTime();
  for (std::int64_t isa = std::ssize(all_isas()) - 1; isa >= 0; --isa) {
    if (!cpu_supports(all_isas()[static_cast<std::size_t>(isa)])) continue;
    for (std::int64_t threads : {1, 2}) {
      for (std::int64_t model : {0, 1}) {
        for (std::int64_t tokens : {1, 512}) bench->Args({isa, threads, model, tokens});
      }
    }
  }
}

}  // namespace krait
