#include "kernels/attention/attention.h"

#include "kernels/bench_support.h"

namespace krait {
namespace {

// One layer: heads of 64 channels over 1024 tokens that are there already.
void attention(benchmark::State& state, DType dtype) {
  BenchContext bench(state);
  const std::int64_t T = bench.tokens, D = bench.model.d_model, dim = 64, heads = D / dim;
  const std::int64_t past = 1024, rows = past + T;
  float* const qkv = bench.floats(T * 3 * D);
  const Activation y = f32_activation(bench.floats(T * D), T, D);
  std::vector<HeadCache> cache;
  for (std::int64_t h = 0; h < heads; ++h) {
    const auto room = [&]() -> void* {
      return dtype == DType::f32 ? static_cast<void*>(bench.floats(rows * dim))
                                 : bench.bytes(rows * dim);
    };
    cache.push_back(
        {room(), room(), bench.floats(rows, 0.01, 0.02), bench.floats(rows, 0.01, 0.02)});
  }
  const SequenceRun<const HeadCache*> one[] = {{{.end = T, .position = past}, cache.data()}};
  for (auto _ : state) {
    krait::attention(bench.ctx,
                     {.shape = {heads, heads, dim},
                      .scale = 0.125f,
                      .q = {qkv, 3 * D, 3 * dim},
                      .k = {qkv + dim, 3 * D, 3 * dim},
                      .v = {qkv + 2 * dim, 3 * D, 3 * dim},
                      .k_dtype = dtype,
                      .v_dtype = dtype},
                     one, y);
    benchmark::ClobberMemory();
  }
  bench.report(state, 2 * rows * D * static_cast<std::int64_t>(size_of(dtype)));
}
BENCHMARK_CAPTURE(attention, f32, DType::f32)->Apply(for_each_case);
BENCHMARK_CAPTURE(attention, i8, DType::i8)->Apply(for_each_case);

}  // namespace
}  // namespace krait
