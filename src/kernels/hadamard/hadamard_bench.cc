#include "kernels/hadamard/hadamard.h"

#include "kernels/bench_support.h"

namespace krait {
namespace {

// The whole inner dimension as one block, written as int8 with a static scale.
void hadamard(benchmark::State& state) {
  BenchContext bench(state);
  const std::int64_t T = bench.tokens, C = bench.model.d_inner;
  const Activation x = f32_activation(bench.floats(T * C), T, C);
  float scale = 0.01f;
  const Activation y{.data = bench.bytes(T * C),
                     .dtype = DType::i8,
                     .rows = T,
                     .cols = C,
                     .stride = C,
                     .strategy = Strategy::tensor,
                     .dynamic = false,
                     .scale = &scale};
  for (auto _ : state) {
    krait::hadamard(bench.ctx, x, C, y);
    benchmark::ClobberMemory();
  }
  bench.report(state, 9 * T * C);
}
BENCHMARK(hadamard)->Apply(for_each_case);

}  // namespace
}  // namespace krait
