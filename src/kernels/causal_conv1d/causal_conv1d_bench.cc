#include "kernels/causal_conv1d/causal_conv1d.h"

#include "kernels/bench_support.h"

namespace krait {
namespace {

// One layer: f32 throughout, or int8 weights, input and output with static scales.
void causal_conv1d(benchmark::State& state, bool i8) {
  BenchContext bench(state);
  const std::int64_t T = bench.tokens, C = bench.model.d_inner, K = bench.model.taps;
  ConvWeight weight{.data = Tensor(i8 ? DType::i8 : DType::f32, {K, C}),
                    .scale = Tensor(DType::f32, {C}),
                    .bias = Tensor(DType::f32, {C})};
  const SequenceRun<void*> one[] = {{{.end = T}, bench.floats((K - 1) * C)}};
  float scale = 0.01f;
  Activation in = f32_activation(bench.floats(T * 2 * C), T, C, 2 * C);
  Activation out = f32_activation(bench.floats(T * C), T, C);
  if (i8) {
    for (Activation* activation : {&in, &out}) {
      activation->dtype = DType::i8;
      activation->scale = &scale;
    }
  }
  for (auto _ : state) {
    krait::causal_conv1d(bench.ctx, weight, in, one, out);
    benchmark::ClobberMemory();
  }
  const std::int64_t element = i8 ? 1 : 4;
  bench.report(state, element * C * (2 * T + K + 2 * (K - 1)));
}
BENCHMARK_CAPTURE(causal_conv1d, f32, false)->Apply(for_each_case);
BENCHMARK_CAPTURE(causal_conv1d, i8, true)->Apply(for_each_case);

}  // namespace
}  // namespace krait
