#include "kernels/ssd/ssd.h"

#include <vector>

#include "kernels/bench_support.h"

namespace krait {
namespace {

// One layer with heads of 64 channels, 128 states and one group; inputs f32. The state is read and
// written once per call of one token.
enum class Kept { f32, f16, i8, i8_clusters, i8_rows, i8_rows_stochastic };

void ssd(benchmark::State& state, Kept kept) {
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
  const DType dtype = kept == Kept::f32 ? DType::f32 : kept == Kept::f16 ? DType::f16 : DType::i8;
  float* const values = bench.floats(N * C);
  if (dtype != DType::f32) std::fill_n(values, N * C, 0.0f);
  SsdState s{.data = values, .dtype = dtype, .stochastic = kept == Kept::i8_rows_stochastic};
  // Four clusters of heads with four of channels each.
  std::vector<std::int32_t> table;
  std::vector<std::int8_t> slot;
  for (std::int64_t h = 0; h < H; ++h) table.push_back(static_cast<std::int32_t>(h * 4 / H));
  for (std::int64_t c = 0; c < C; ++c) slot.push_back(static_cast<std::int8_t>(c % P * 4 / P));
  if (kept == Kept::i8) {
    s.scale = bench.floats(C, 0.01, 0.02);
  } else if (kept == Kept::i8_clusters) {
    const std::int64_t scales = 4 * N * kSsdClusters;
    s.clusters = {bench.floats(scales, 0.01, 0.02), bench.floats(scales, 50, 100), table.data(),
                  slot.data()};
  } else {
    s.row_scale = bench.floats(C, 0.01, 0.02);
  }
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
BENCHMARK_CAPTURE(ssd, f32, Kept::f32)->Apply(for_each_case);
BENCHMARK_CAPTURE(ssd, f16, Kept::f16)->Apply(for_each_case);
BENCHMARK_CAPTURE(ssd, i8, Kept::i8)->Apply(for_each_case);
BENCHMARK_CAPTURE(ssd, i8_clusters, Kept::i8_clusters)->Apply(for_each_case);
BENCHMARK_CAPTURE(ssd, i8_rows, Kept::i8_rows)->Apply(for_each_case);
BENCHMARK_CAPTURE(ssd, i8_rows_stochastic, Kept::i8_rows_stochastic)->Apply(for_each_case);

}  // namespace
}  // namespace krait
