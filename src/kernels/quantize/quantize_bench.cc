#include "kernels/quantize/quantize.h"

#include "kernels/bench_support.h"

namespace krait {
namespace {

void quantize(benchmark::State& state, Strategy strategy, bool dynamic) {
  BenchContext bench(state);
  const std::int64_t T = bench.tokens, C = bench.model.d_inner;
  const Activation x = f32_activation(bench.floats(T * C), T, C);
  const Activation y{.data = bench.bytes(T * C),
                     .dtype = DType::i8,
                     .rows = T,
                     .cols = C,
                     .stride = C,
                     .strategy = strategy,
                     .dynamic = dynamic,
                     .scale = bench.floats(T + C, 0.01, 0.01)};
  for (auto _ : state) {
    krait::quantize(bench.ctx, x, y);
    benchmark::ClobberMemory();
  }
  bench.report(state, 5 * T * C);
}
BENCHMARK_CAPTURE(quantize, static_tensor, Strategy::tensor, false)->Apply(for_each_case);
BENCHMARK_CAPTURE(quantize, token, Strategy::token, true)->Apply(for_each_case);

}  // namespace
}  // namespace krait
