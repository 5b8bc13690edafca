#include "kernels/nonlinearity/nonlinearity.h"

#include "kernels/bench_support.h"

namespace krait {
namespace {

// With quantization to a scale per token, over a feed-forward block's width.
void gelu(benchmark::State& state, Gelu form) {
  BenchContext bench(state);
  const std::int64_t T = bench.tokens, C = 4 * bench.model.d_model;
  const Activation x = f32_activation(bench.floats(T * C, -3, 3), T, C);
  const Activation y{.data = bench.bytes(T * C),
                     .dtype = DType::i8,
                     .rows = T,
                     .cols = C,
                     .stride = C,
                     .strategy = Strategy::token,
                     .dynamic = true,
                     .scale = bench.floats(T)};
  for (auto _ : state) {
    krait::gelu(bench.ctx, form, x, y);
    benchmark::ClobberMemory();
  }
  bench.report(state, T * C * 5);
}
BENCHMARK_CAPTURE(gelu, erf, Gelu::erf)->Apply(for_each_case);
BENCHMARK_CAPTURE(gelu, tanh, Gelu::tanh)->Apply(for_each_case);

}  // namespace
}  // namespace krait
