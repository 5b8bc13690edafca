#include "kernels/ssd/ssd.h"

#include "kernels/bench_support.h"

namespace krait {
namespace {

// One layer with heads of 64 channels, 128 states and one group; inputs f32. The state is read and
// written once per call of one token.
void ssd(benchmark::State& state, DType dtype) {
  BenchContext bench(state);
  const std::int64_t T = bench.tokens, C = bench.model.d_inner, P = 64, H = C / P, N = 128;
  const SsdParams params{.heads = H,
                         .head_dim = P,
                         .groups = 1,
                         .states = N,
                         .a2 = bench.floats(H, -16, -0.5),
                         .D = bench.floats(C),
                         .dt_bias = bench.floats(H, -5, -2),
                         .dt_min = 0,
                         .dt_max = 100};
  float* const values = bench.floats(N * C);
  if (dtype != DType::f32) std::fill_n(values, N * C, 0.0f);
  const SsdState s{values, dtype, bench.floats(C, 0.01, 0.02)};
  const auto matrix = [&](std::int64_t cols) {
    return f32_activation(bench.floats(T * cols), T, cols);
  };
  const SsdInputs in{matrix(C), matrix(H), matrix(N), matrix(N)};
  const Activation y = matrix(C);
  for (auto _ : state) {
    krait::ssd(bench.ctx, params, in, s, y);
    benchmark::ClobberMemory();
  }
  const auto element = static_cast<std::int64_t>(size_of(dtype));
  bench.report(state, 2 * N * C * element + T * 4 * (2 * C + H + 2 * N));
}
BENCHMARK_CAPTURE(ssd, f32, DType::f32)->Apply(for_each_case);
BENCHMARK_CAPTURE(ssd, f16, DType::f16)->Apply(for_each_case);
BENCHMARK_CAPTURE(ssd, i8, DType::i8)->Apply(for_each_case);

}  // namespace
}  // namespace krait
