#include "kernels/selective_scan/selective_scan.h"

#include "kernels/bench_support.h"

namespace krait {
namespace {

// One layer with bias, softplus and gate; states and inputs f32.
void selective_scan(benchmark::State& state) {
  BenchContext bench(state);
  const std::int64_t T = bench.tokens, C = bench.model.d_inner, N = bench.model.states;
  const ScanParams params{bench.floats(N * C, -16, -0.5), bench.floats(C), bench.floats(C, -5, -2),
                          N};
  const SequenceRun<void*> one[] = {{{.end = T}, bench.floats(N * C)}};
  const auto matrix = [&](std::int64_t cols) {
    return f32_activation(bench.floats(T * cols), T, cols);
  };
  const ScanInputs in{matrix(C), matrix(C), matrix(N), matrix(N), matrix(C)};
  const Activation y = matrix(C);
  for (auto _ : state) {
    krait::selective_scan(bench.ctx, params, in, one, y);
    benchmark::ClobberMemory();
  }
  // Multiplications: ten for each h (dt A, six in exp2, dt u B, h, y), 23 for softplus and silu,
  // two of them divisions, and three more for each channel.
  const double updates = static_cast<double>(T * C * N), channels = static_cast<double>(T * C);
  bench.report(state, 4 * (3 * N * C + T * (4 * C + 2 * N)), 2 * (10 * updates + 26 * channels));
}
BENCHMARK(selective_scan)->Apply(for_each_case);

}  // namespace
}  // namespace krait
