#include "kernels/quantize/quantize.h"

#include "kernels/bench_support.h"

namespace krait {
namespace {

void quantize(benchmark::State& state, Strategy strategy, bool dynamic) {
  BenchContext bench(state);
  const std::int64_t T = bench.tokens, C = bench.model.d_inner;
  std::vector<float> x = bench_floats(T * C),
                     scale(static_cast<std::size_t>(std::max(T, C)), 0.01f);
  std::vector<std::int8_t> q(x.size());
  const Activation y{.data = q.data(),
                     .dtype = DType::i8,
                     .rows = T,
                     .cols = C,
                     .stride = C,
                     .strategy = strategy,
                     .dynamic = dynamic,
                     .scale = scale.data()};
  for (auto _ : state) {
    krait::quantize(bench.ctx, f32_activation(x.data(), T, C), y);
    benchmark::ClobberMemory();
  }
  bench.report(state, 5 * T * C);
}
BENCHMARK_CAPTURE(quantize, static_tensor, Strategy::tensor, false)->Apply(for_each_case);
BENCHMARK_CAPTURE(quantize, token, Strategy::token, true)->Apply(for_each_case);

}  // namespace
}  // namespace krait
