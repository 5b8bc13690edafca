// Small random Mamba checkpoints in memory, for the tests of models, runtime, quant and eval.
#pragma once

#include <cmath>
#include <cstdlib>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/float16.h"
#include "core/rng.h"
#include "io/json.h"
#include "io/tensor_source.h"
#include "kernels/context.h"
#include "models/decoder.h"
#include "models/families/families.h"
#include "models/model.h"
#include "models/tensor_check.h"
#include "models/test_operations.h"

namespace krait {

/// Odd sizes on purpose: vectors and tiles end in the middle.
struct TinyMamba {
  std::int64_t V = 61, D = 20, E = 36, N = 5, K = 4, R = 3, layers = 2;
  bool linear_bias = false, conv_bias = true, tied = true;
  DType dtype = DType::f32;  ///< of the linears and the table
  std::uint64_t seed = 1;
};

/// A checkpoint that tests may change before they make a source of it.
struct TestCheckpoint {
  Json config;
  std::map<std::string, Tensor> tensors;

  std::shared_ptr<TensorSource> source() const {
    return make_memory_source({tensors.begin(), tensors.end()});
  }
};

/// What the checkpoint's family reads of it.
inline DecoderConfig read_decoder(const TestCheckpoint& checkpoint) {
  const auto source = checkpoint.source();
  return find_family(checkpoint.config).read({checkpoint.config, TensorCheck(*source), *source});
}

inline Tensor test_tensor(const Shape& shape, std::span<const float> values,
                          DType dtype = DType::f32) {
  Tensor tensor(dtype, shape);
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (dtype == DType::f32) tensor.mutable_as<float>()[i] = values[i];
    if (dtype == DType::f16) tensor.mutable_as<std::uint16_t>()[i] = f32_to_f16(values[i]);
    if (dtype == DType::bf16) tensor.mutable_as<std::uint16_t>()[i] = f32_to_bf16(values[i]);
  }
  return tensor;
}

/// Adds random tensors of the size that training leaves behind: no activation explodes or dies.
struct RandomTensors {
  TestCheckpoint& checkpoint;
  DType dtype;  ///< of the matrices
  Rng rng;

  void add(const std::string& name, const Shape& shape, double low, double high, DType as) {
    std::vector<float> values(static_cast<std::size_t>(shape.elements()));
    for (float& v : values) v = static_cast<float>(low + rng.uniform() * (high - low));
    checkpoint.tensors[name] = test_tensor(shape, values, as);
  }
  void add(const std::string& name, const Shape& shape, double low, double high) {
    add(name, shape, low, high, DType::f32);
  }
  void linear(const std::string& name, std::int64_t rows, std::int64_t cols, bool bias = false) {
    const double bound = 2.0 / std::sqrt(static_cast<double>(cols));
    add(name + ".weight", {rows, cols}, -bound, bound, dtype);
    if (bias) add(name + ".bias", {rows}, -0.3, 0.3);
  }
};

/// Random tensors for the sizes of any family's config.json.
inline TestCheckpoint tiny_checkpoint(Json config, DType dtype = DType::f32,
                                      std::uint64_t seed = 1) {
  TestCheckpoint result;
  RandomTensors random{result, dtype, Rng(seed)};
  const ModelLayout layout = describe_decoder(read_published(find_family(config), config));
  for (const LinearSite& site : layout.linears) {
    if (site.kind == "table") {
      random.add(site.name + ".weight", {site.rows, site.cols}, -1, 1, dtype);
    } else if (site.tied_to.empty()) {
      random.linear(site.name, site.rows, site.cols, site.has_bias);
    }
  }
  for (const ParamSite& site : layout.params) {
    const auto [low, high] = site.init == Init::ones      ? std::pair(0.5, 1.5)
                             : site.init == Init::zeros   ? std::pair(-0.3, 0.3)
                             : site.init == Init::uniform ? std::pair(-0.8, 0.8)
                             : site.init == Init::dt_bias ? std::pair(-4.0, 0.0)
                                                          : std::pair(0.0, 2.5);
    random.add(site.name, site.shape, low, high);
  }
  result.config = std::move(config);
  return result;
}

inline TestCheckpoint tiny_mamba(const TinyMamba& m = {}) {
  TestCheckpoint result;
  RandomTensors random{result, m.dtype, Rng(m.seed)};
  random.add("backbone.embeddings.weight", {m.V, m.D}, -1, 1, m.dtype);
  if (!m.tied) random.linear("lm_head", m.V, m.D);
  random.add("backbone.norm_f.weight", {m.D}, 0.5, 1.5);
  for (std::int64_t i = 0; i < m.layers; ++i) {
    const std::string block = "backbone.layers." + std::to_string(i) + ".";
    const std::string mixer = block + "mixer.";
    random.add(block + "norm.weight", {m.D}, 0.5, 1.5);
    random.linear(mixer + "in_proj", 2 * m.E, m.D, m.linear_bias);
    random.add(mixer + "conv1d.weight", {m.E, 1, m.K}, -0.8, 0.8);
    if (m.conv_bias) random.add(mixer + "conv1d.bias", {m.E}, -0.3, 0.3);
    random.linear(mixer + "x_proj", m.R + 2 * m.N, m.E);
    random.linear(mixer + "dt_proj", m.E, m.R);
    random.add(mixer + "dt_proj.bias", {m.E}, -4, 0);
    random.add(mixer + "A_log", {m.E, m.N}, 0, 2.5);
    random.add(mixer + "D", {m.E}, 0.5, 1.5);
    random.linear(mixer + "out_proj", m.D, m.E, m.linear_bias);
  }
  result.config = {{"model_type", "mamba"},     {"architectures", {"MambaForCausalLM"}},
                   {"hidden_size", m.D},        {"num_hidden_layers", m.layers},
                   {"vocab_size", m.V},         {"tie_word_embeddings", m.tied},
                   {"layer_norm_epsilon", 1e-5}};
  return result;
}

/// The same for Mamba-2.
struct TinyMamba2 {
  std::int64_t V = 61, D = 20, H = 6, P = 6, G = 2, N = 5, K = 4, layers = 2;
  bool linear_bias = false, conv_bias = true, tied = true, D_per_channel = false;
  double dt_min = 0, dt_max = 1e9;
  DType dtype = DType::f32;  ///< of the linears and the table
  std::uint64_t seed = 1;
  std::int64_t E() const { return H * P; }
};

inline TestCheckpoint tiny_mamba2(const TinyMamba2& m = {}) {
  TestCheckpoint result;
  RandomTensors random{result, m.dtype, Rng(m.seed)};
  const std::int64_t E = m.E(), conv = E + 2 * m.G * m.N;
  random.add("backbone.embeddings.weight", {m.V, m.D}, -1, 1, m.dtype);
  if (!m.tied) random.linear("lm_head", m.V, m.D);
  random.add("backbone.norm_f.weight", {m.D}, 0.5, 1.5);
  for (std::int64_t i = 0; i < m.layers; ++i) {
    const std::string block = "backbone.layers." + std::to_string(i) + ".";
    const std::string mixer = block + "mixer.";
    random.add(block + "norm.weight", {m.D}, 0.5, 1.5);
    random.linear(mixer + "in_proj", E + conv + m.H, m.D, m.linear_bias);
    random.add(mixer + "conv1d.weight", {conv, 1, m.K}, -0.8, 0.8);
    if (m.conv_bias) random.add(mixer + "conv1d.bias", {conv}, -0.3, 0.3);
    random.add(mixer + "dt_bias", {m.H}, -4, 0);
    random.add(mixer + "A_log", {m.H}, 0, 2.5);
    random.add(mixer + "D", {m.D_per_channel ? E : m.H}, 0.5, 1.5);
    random.add(mixer + "norm.weight", {E}, 0.5, 1.5);
    random.linear(mixer + "out_proj", m.D, E, m.linear_bias);
  }
  result.config = {{"model_type", "mamba2"},
                   {"architectures", {"Mamba2ForCausalLM"}},
                   {"hidden_size", m.D},
                   {"num_hidden_layers", m.layers},
                   {"num_heads", m.H},
                   {"head_dim", m.P},
                   {"n_groups", m.G},
                   {"state_size", m.N},
                   {"vocab_size", m.V},
                   {"tie_word_embeddings", m.tied},
                   {"time_step_limit", {m.dt_min, m.dt_max}},
                   {"layer_norm_epsilon", 1e-5}};
  return result;
}

inline std::vector<std::int32_t> random_ids(std::uint64_t seed, std::int64_t count,
                                            std::int64_t vocab) {
  Rng rng(seed);
  std::vector<std::int32_t> ids(static_cast<std::size_t>(count));
  for (auto& id : ids) id = static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(vocab)));
  return ids;
}

/// Everything that a forward pass needs, at one instruction set.
struct TestRuntime {
  /// `guarded`: by the table of test_operations.h and in its memory.
  explicit TestRuntime(Isa isa = Isa::reference, int threads = 1, bool guarded = all_are_guarded())
      : pool(threads),
        arena(guarded ? guarded_memory() : host_memory()),
        ctx{pool, microkernels(isa), arena, nullptr,
            guarded ? guarded_operations() : cpu_operations} {}
  /// How ctest runs the tests of models once more.
  static bool all_are_guarded() { return std::getenv("KRAIT_TEST_GUARDED") != nullptr; }

  ThreadPool pool;
  Arena arena;
  Context ctx;
};

/// Logits of all tokens, [ids, V], consumed from `state` in one call.
inline std::vector<float> all_logits(Context& ctx, const Model& model,
                                     std::span<const std::int32_t> ids, SequenceState& state) {
  std::vector<float> logits(ids.size() * static_cast<std::size_t>(model.info().vocab_rows));
  const std::int32_t cu_seqlens[] = {0, static_cast<std::int32_t>(ids.size())};
  SequenceState* states[] = {&state};
  const LogitRows rows[] = {LogitRows::all};
  model.forward(ctx, {ids, cu_seqlens, states, rows}, logits.data());
  return logits;
}

}  // namespace krait
