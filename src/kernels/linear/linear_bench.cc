// linear() at the shapes of the published Mamba ladder. bytes/s counts the weight once per call:
// compare it with the memory bandwidth (few tokens); ops/s counts two per multiplication: compare
// it with the peak of the multipliers (many tokens). Weights rotate through more memory than the
// caches hold, as in a model of many layers.
//   krait_bench --benchmark_filter='linear/I8/in_proj_130m/T1/2' --benchmark_repetitions=9
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "core/cpu_info.h"
#include "core/float16.h"
#include "core/rng.h"
#include "kernels/bench_support.h"
#include "kernels/linear/linear.h"

namespace krait {
namespace {

struct Layer {
  const char* name;
  std::int64_t rows, cols;
};
constexpr Layer kLayers[] = {
    {"in_proj_130m", 3072, 768},   {"out_proj_130m", 768, 1536},  {"x_proj_130m", 80, 1536},
    {"dt_proj_130m", 1536, 48},    {"lm_head_130m", 50280, 768},  {"in_proj_790m", 6144, 1536},
    {"out_proj_790m", 1536, 3072}, {"in_proj_2.8b", 10240, 2560}, {"out_proj_2.8b", 2560, 5120},
    {"x_proj_2.8b", 192, 5120},
};
constexpr std::int64_t kTokens[] = {1, 2, 4, 8, 16, 64, 512};

/// What is multiplied with what.
struct Format {
  const char* name;
  DType weight, x;  // weight i32: 4 bits, u8: codes
  std::int64_t group = 0;
  int bits = 0;  // of codes
};
constexpr Format kFormats[] = {
    {"I8", DType::i8, DType::i8},
    {"W4A8g64", DType::i32, DType::i8, 64},
    {"W4A8g128", DType::i32, DType::i8, 128},
    {"C2A8g64", DType::u8, DType::i8, 64, 2},
    {"C3A8g64", DType::u8, DType::i8, 64, 3},
    {"C4A8g64", DType::u8, DType::i8, 64, 4},
    {"W4A16g64", DType::i32, DType::f32, 64},
    {"W4A16g128", DType::i32, DType::f32, 128},
    {"BF16", DType::bf16, DType::f32},
    {"F32", DType::f32, DType::f32},
};

void random_fill(Tensor& tensor) {
  Rng rng(1);
  if (tensor.dtype() == DType::i8) {
    for (auto& q : tensor.mutable_as<std::int8_t>()) {
      q = static_cast<std::int8_t>(static_cast<int>(rng.below(255)) - 127);
    }
  } else if (tensor.dtype() == DType::u8) {
    for (auto& byte : tensor.mutable_as<std::uint8_t>()) {
      byte = static_cast<std::uint8_t>(rng.next() >> 32);
    }
  } else if (tensor.dtype() == DType::i32) {
    for (auto& word : tensor.mutable_as<std::int32_t>()) {
      word = static_cast<std::int32_t>(rng.next() >> 32);
    }
  } else if (tensor.dtype() == DType::f32) {
    for (auto& w : tensor.mutable_as<float>()) w = static_cast<float>(rng.uniform() - 0.5);
  } else {  // bf16 in (1, 2)
    for (auto& w : tensor.mutable_as<std::uint16_t>()) {
      w = static_cast<std::uint16_t>(0x3f80 | rng.below(128));
    }
  }
}

/// Every 4-bit, coded or int8 weight has the scale 0.01 or what bf16 makes of it.
Weight random_weight(Context& ctx, const Format& format, const Layer& layer) {
  Weight weight;
  const bool is_4bit = format.weight == DType::i32, is_coded = format.weight == DType::u8;
  weight.data = is_coded
                    ? Tensor(DType::u8, {layer.rows / 2, layer.cols * format.bits / 4})
                    : Tensor(format.weight, {layer.rows, is_4bit ? layer.cols / 8 : layer.cols});
  random_fill(weight.data);
  if (is_coded) {
    weight.code_bits = format.bits;
    weight.table = Tensor(DType::i8, {64});
    random_fill(weight.table);
  }
  if (is_4bit || is_coded) {
    weight.strategy = Strategy::group;
    weight.group_size = static_cast<int>(format.group);
    weight.scale = Tensor(DType::bf16, {layer.rows, layer.cols / format.group});
    std::ranges::fill(weight.scale.mutable_as<std::uint16_t>(), f32_to_bf16(0.01F));
  } else if (format.weight == DType::i8) {
    weight.scale = Tensor(DType::f32, {layer.rows});
    std::ranges::fill(weight.scale.mutable_as<float>(), 0.01F);
  }
  pack(ctx, weight);
  if (weight.packed || weight.packed4 ||
      weight.packed_codes) {  // as models do: only the tiles are read
    weight.data = Tensor(TensorView{nullptr, format.weight, weight.data.shape()}, nullptr);
  }
  return weight;
}

std::size_t bytes_of(const Weight& weight) {
  if (weight.packed4) return weight.packed4->lines.bytes();
  if (weight.packed_codes) return weight.packed_codes->lines.bytes();
  return weight.packed ? weight.packed->tiles.bytes() : weight.data.bytes();
}

void run(benchmark::State& state, Isa isa, Format format, Layer layer, std::int64_t tokens,
         int thread_count) {
  ThreadPool threads(thread_count);
  Arena arena;
  Context ctx{threads, microkernels(isa), arena};
  constexpr std::size_t kCaches = std::size_t{200} << 20;
  std::vector<Weight> weights{random_weight(ctx, format, layer)};
  const std::size_t bytes = bytes_of(weights.front());
  const std::size_t count = tokens > 64 ? 1 : std::clamp<std::size_t>(kCaches / bytes, 1, 256);
  while (weights.size() < count) weights.push_back(random_weight(ctx, format, layer));
  Tensor x_memory(format.x, {tokens, layer.cols});
  random_fill(x_memory);
  std::vector<float> x_scale(static_cast<std::size_t>(tokens), 0.02F);
  Tensor y_memory(DType::f32, {tokens, layer.rows});
  const Activation x{.data = const_cast<void*>(x_memory.view().data),
                     .dtype = x_memory.dtype(),
                     .rows = tokens,
                     .cols = layer.cols,
                     .stride = layer.cols,
                     .strategy = Strategy::token,
                     .dynamic = true,
                     .scale = x_scale.data()};
  const Activation y = f32_activation(y_memory.mutable_as<float>().data(), tokens, layer.rows);
  std::size_t i = 0;
  for (auto _ : state) {
    linear(ctx, weights[i], x, y);
    i = (i + 1) % weights.size();
  }
  const MachinePeaks& peaks = peaks_of(isa, thread_count);
  const bool integers = format.x == DType::i8;
  count_rate(state, "bytes", static_cast<double>(bytes), "bandwidth", peaks.read_bandwidth);
  count_rate(state, "ops", 2 * static_cast<double>(layer.rows * layer.cols * tokens),
             integers ? "int8_peak" : "fp32_peak", integers ? peaks.int8_ops : peaks.fp32_flops);
}

const bool registered = [] {
  for (const Isa isa : all_isas()) {
    if (!cpu_supports(isa) || isa == Isa::reference) continue;
    for (const Format& format : kFormats) {
      for (const Layer& layer : kLayers) {
        if (format.group && layer.cols % format.group != 0) continue;
        for (const std::int64_t tokens : kTokens) {
          for (const int threads : {1, 2}) {
            const std::string name = fmt::format("linear/{}/{}/{}/T{}/threads{}", name_of(isa),
                                                 format.name, layer.name, tokens, threads);
            benchmark::RegisterBenchmark(name.c_str(), run, isa, format, layer, tokens, threads)
                ->UseRealTime()
                ->Unit(benchmark::kMicrosecond);
          }
        }
      }
    }
  }
  return true;
}();

}  // namespace
}  // namespace krait
