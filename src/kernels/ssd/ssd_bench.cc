#include "kernels/ssd/ssd.h"

#include <vector>

#include "kernels/bench_support.h"
#include "kernels/ssd/ssd_kernels.h"

namespace krait {
namespace {

// One layer with heads of 64 channels, 128 states and one group; inputs f32. A state that is
// rounded after every token is read and written once per call of one token; others are only read,
// with what is recent of half a chunk.
enum class Kept { f32, f16, i8, i8_clusters, i8_rows };

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
  SsdState s{.data = values, .dtype = dtype};
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
  }
  if (kept == Kept::i8_rows) s.row_scale = bench.floats(C, 0.01, 0.02);
  const bool replayed = kept == Kept::i8_rows || kept == Kept::f32;
  if (replayed) {
    s.recent = {bench.floats(C * (kSsdChunk - 1)), bench.floats(N * kSsdChunk),
                bench.floats(H * kSsdChunk, 0, 1)};
  }
  const auto matrix = [&](std::int64_t cols) {
    return f32_activation(bench.floats(T * cols), T, cols);
  };
  const SsdInputs in{matrix(C), matrix(H), matrix(N), matrix(N)};
  const Activation y = matrix(C);
  SequenceRun<SsdState> run[] = {{{.end = T}, s}};
  for (auto _ : state) {
    krait::ssd(bench.ctx, params, in, run, y);
    run[0].rows.position += T;  // calls of one token end a chunk now and then
    benchmark::ClobberMemory();
  }
  const auto element = static_cast<std::int64_t>(size_of(dtype));
  std::int64_t state_bytes = 2 * N * C * element;
  if (replayed && T == 1) state_bytes = N * C * element + kSsdChunk / 2 * 4 * (C + N);
  bench.report(state, state_bytes + T * 4 * (2 * C + H + 2 * N));
}
BENCHMARK_CAPTURE(ssd, f32, Kept::f32)->Apply(for_each_case);
BENCHMARK_CAPTURE(ssd, f16, Kept::f16)->Apply(for_each_case);
BENCHMARK_CAPTURE(ssd, i8, Kept::i8)->Apply(for_each_case);
BENCHMARK_CAPTURE(ssd, i8_clusters, Kept::i8_clusters)->Apply(for_each_case);
BENCHMARK_CAPTURE(ssd, i8_rows, Kept::i8_rows)->Apply(for_each_case);

// An f32 state over a prompt at Mamba-2's shapes of 130m, 2.7b and 8b (8 groups).
struct Prompt {
  explicit Prompt(const benchmark::State& state)
      : bench(state), T(bench.tokens), H(bench.model.d_inner / P), G(H == 128 ? 8 : 1) {}
  float* random(std::int64_t cols, double low = -1, double high = 1) {
    return bench.floats(T * cols, low, high);
  }
  Activation matrix(std::int64_t cols) { return f32_activation(random(cols), T, cols); }
  void report(benchmark::State& state) const {
    bench.report(state, 2 * N * H * P * 4 + T * 4 * (2 * H * P + H + 2 * G * N));
  }
  static constexpr std::int64_t P = 64, N = 128;
  BenchContext bench;
  std::int64_t T, H, G;
};

void ssd_chunks(benchmark::State& state) {
  Prompt prompt(state);
  const std::int64_t H = prompt.H, C = H * prompt.P, GN = prompt.G * prompt.N;
  BenchContext& bench = prompt.bench;
  const SsdParams params{.heads = H,
                         .head_dim = prompt.P,
                         .groups = prompt.G,
                         .states = prompt.N,
                         .a2 = bench.floats(H, -16, -0.5),
                         .D = bench.floats(C),
                         .dt_bias = bench.floats(H, -5, -2),
                         .dt_min = 0,
                         .dt_max = 100};
  const SequenceRun<SsdState> kept[] = {
      {{.end = prompt.T},
       {.data = bench.floats(prompt.N * C),
        .recent = {bench.floats(C * (kSsdChunk - 1)), bench.floats(GN * kSsdChunk),
                   bench.floats(H * kSsdChunk, 0, 1)}}}};
  const SsdInputs in{prompt.matrix(C), prompt.matrix(H), prompt.matrix(GN), prompt.matrix(GN)};
  const Activation y = prompt.matrix(C);
  for (auto _ : state) {
    krait::ssd(bench.ctx, params, in, kept, y);
    benchmark::ClobberMemory();
  }
  prompt.report(state);
}

void for_each_prompt(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"isa", "threads", "model", "tokens"})->UseRealTime();
  for (std::int64_t isa = std::ssize(all_isas()) - 1; isa >= 0; --isa) {
    if (!cpu_supports(all_isas()[static_cast<std::size_t>(isa)])) continue;
    for (const std::int64_t threads : {1, 2}) {
      for (const std::int64_t model : {0, 1, 2}) bench->Args({isa, threads, model, 512});
    }
  }
}
BENCHMARK(ssd_chunks)->Apply(for_each_prompt);
// DEL->Apply(for_each_prompt);

}  // namespace
}  // namespace krait
