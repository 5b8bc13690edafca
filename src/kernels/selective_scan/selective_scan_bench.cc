#include "kernels/selective_scan/selective_scan.h"

#include "kernels/bench_support.h"

namespace krait {
namespace {

// One layer with bias, softplus and gate; states and inputs f32.
void selective_scan(benchmark::State& state) {
  BenchContext bench(state);
  const std::int64_t T = bench.tokens, C = bench.model.d_inner, N = bench.model.states;
  std::vector<float> a2 = bench_floats(N * C, -16, -0.5), D = bench_floats(C),
                     bias = bench_floats(C, -5, -2), h(static_cast<std::size_t>(N * C)),
                     u = bench_floats(T * C), dt = bench_floats(T * C), z = bench_floats(T * C),
                     B = bench_floats(T * N), c = bench_floats(T * N), y(u.size());
  const ScanInputs in{f32_activation(u.data(), T, C), f32_activation(dt.data(), T, C),
                      f32_activation(B.data(), T, N), f32_activation(c.data(), T, N),
                      f32_activation(z.data(), T, C)};
  for (auto _ : state) {
    krait::selective_scan(bench.ctx, {a2.data(), D.data(), bias.data(), N}, in,
                          {h.data(), DType::f32, nullptr}, f32_activation(y.data(), T, C));
    benchmark::ClobberMemory();
  }
  bench.report(state, 4 * (3 * N * C + T * (4 * C + 2 * N)));
}
BENCHMARK(selective_scan)->Apply(for_each_case);

}  // namespace
}  // namespace krait
