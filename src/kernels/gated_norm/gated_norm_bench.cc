#include "kernels/gated_norm/gated_norm.h"

#include "kernels/bench_support.h"

namespace krait {
namespace {

// Gate and norm of one layer, f32 in and out.
void gated_rms_norm(benchmark::State& state) {
  BenchContext bench(state);
  const std::int64_t T = bench.tokens, C = bench.model.d_inner;
  const auto matrix = [&] { return f32_activation(bench.floats(T * C), T, C); };
  const Activation y = matrix(), z = matrix(), out = matrix();
  const float* const weight = bench.floats(C);
  for (auto _ : state) {
    krait::gated_rms_norm(bench.ctx, y, z, weight, 1e-5f, 1, out);
    benchmark::ClobberMemory();
  }
  bench.report(state, T * C * 16 + 4 * C);
}
BENCHMARK(gated_rms_norm)->Apply(for_each_case);

}  // namespace
}  // namespace krait
