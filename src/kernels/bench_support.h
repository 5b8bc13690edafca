// What the benchmarks of the operations share: one context per instruction set and the shapes of
// published models. Each benchmark's arguments are {isa, threads, model, tokens}.
#pragma once

#include <benchmark/benchmark.h>

#include <string>

#include "core/rng.h"
#include "kernels/context.h"

namespace krait {

struct ModelShape {
  const char* name;
  std::int64_t d_model, d_inner, states, taps;
};
/// The last is for operations of Mamba-2 only.
inline constexpr ModelShape kModels[] = {
    {"130m", 768, 1536, 16, 4}, {"2.8b", 2560, 5120, 16, 4}, {"8b", 4096, 8192, 128, 4}};

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

  /// Names the case and turns the iterations into time per token and bytes per second.
  void report(benchmark::State& state, std::int64_t bytes_per_call) const {
    state.SetLabel(std::string(name_of(isa)) + " " + model.name);
    state.SetBytesProcessed(state.iterations() * bytes_per_call);
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
