#include "kernels/norm/norm.h"

#include "kernels/bench_support.h"

namespace krait {
namespace {

// Addition, norm and, for i8, quantization with a scale per token.
void add_rms_norm(benchmark::State& state, bool i8) {
  BenchContext bench(state);
  const std::int64_t T = bench.tokens, C = bench.model.d_model;
  float *const residual = bench.floats(T * C), *const add = bench.floats(T * C, 0, 0);
  const float* const weight = bench.floats(C);
  Activation out = f32_activation(bench.floats(T * C), T, C);
  if (i8) {
    out.dtype = DType::i8;
    out.strategy = Strategy::token;
    out.dynamic = true;
    out.scale = bench.floats(T);
  }
  for (auto _ : state) {
    krait::add_rms_norm(bench.ctx, residual, add, weight, 1e-5f, out);
    benchmark::ClobberMemory();
  }
  bench.report(state, T * C * (12 + (i8 ? 1 : 4)) + 4 * C);
}
BENCHMARK_CAPTURE(add_rms_norm, f32, false)->Apply(for_each_case);
BENCHMARK_CAPTURE(add_rms_norm, token_i8, true)->Apply(for_each_case);

}  // namespace
}  // namespace krait
