#include "quant/dummy.h"

#include <array>
#include <cmath>
#include <map>

#include "core/check.h"
#include "core/float16.h"
#include "core/rng.h"
#include "quant/choices.h"

namespace krait {
namespace {

struct PublicShape {
  const char* name;
  std::int64_t d_model, layers;
};
constexpr PublicShape kShapes[] = {{"mamba-130m", 768, 24},
                                   {"mamba-370m", 1024, 48},
                                   {"mamba-790m", 1536, 48},
                                   {"mamba-1.4b", 2048, 48},
                                   {"mamba-2.8b", 2560, 64}};
constexpr std::int64_t kVocab = 50280, kStates = 16, kConv = 4;

/// How the elements of a tensor are made.
enum class Fill { ones, uniform, A_log, dt_bias };

struct Entry {
  Shape shape;
  Fill fill;
  double deviation = 0;  ///< of Fill::uniform
};

std::uint64_t hash_of(std::string_view text) {  // FNV-1a
  std::uint64_t hash = 0xcbf29ce484222325ull;
  for (char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
  return hash;
}

/// Five 12-bit indices from each draw into a table of equally spaced values: about a nanosecond per
/// element, a few seconds for 2.8 billion.
void fill_uniform(std::span<std::uint16_t> out, double deviation, Rng& rng) {
  std::array<std::uint16_t, 4096> table;
  const double half_width = deviation * std::sqrt(3.0);
  for (std::size_t i = 0; i < table.size(); ++i) {
    const double x = (static_cast<double>(i) + 0.5) / 2048 - 1;
    table[i] = f32_to_f16(static_cast<float>(x * half_width));
  }
  for (std::size_t i = 0; i < out.size();) {
    std::uint64_t bits = rng.next();
    for (int k = 0; k < 5 && i < out.size(); ++k, bits >>= 12) out[i++] = table[bits & 4095];
  }
}

/// The inverse of softplus of a step between 0.001 and 0.1, uniform in its logarithm.
float inverse_softplus_of_step(Rng& rng) {
  const double dt = std::exp(std::log(1e-3) + rng.uniform() * (std::log(1e-1) - std::log(1e-3)));
  return static_cast<float>(dt + std::log(-std::expm1(-dt)));
}

class DummySource final : public TensorSource {
 public:
  DummySource(const PublicShape& shape, std::uint64_t seed) : name_(shape.name), seed_(seed) {
    const std::int64_t D = shape.d_model, E = 2 * D, N = kStates, R = D / 16;
    const auto matrix = [](std::int64_t rows, std::int64_t cols, double gain = 1) {
      return Entry{{rows, cols}, Fill::uniform, gain / std::sqrt(static_cast<double>(cols))};
    };
    entries_["backbone.embeddings.weight"] = {{kVocab, D}, Fill::uniform, 0.02};
    entries_["backbone.norm_f.weight"] = {{D}, Fill::ones};
    // The residual sums the outputs of all layers: each adds a share of its variance.
    const double share = 1 / std::sqrt(static_cast<double>(shape.layers));
    for (std::int64_t i = 0; i < shape.layers; ++i) {
      const std::string layer = fmt::format("backbone.layers.{}.", i);
      entries_[layer + "norm.weight"] = {{D}, Fill::ones};
      const std::string mixer = layer + "mixer.";
      entries_[mixer + "in_proj.weight"] = matrix(2 * E, D);
      entries_[mixer + "conv1d.weight"] = {{E, 1, kConv}, Fill::uniform, 0.3};
      entries_[mixer + "conv1d.bias"] = {{E}, Fill::uniform, 0.3};
      entries_[mixer + "x_proj.weight"] = matrix(R + 2 * N, E);
      entries_[mixer + "dt_proj.weight"] = matrix(E, R);
      entries_[mixer + "dt_proj.bias"] = {{E}, Fill::dt_bias};
      entries_[mixer + "A_log"] = {{E, N}, Fill::A_log};
      entries_[mixer + "D"] = {{E}, Fill::ones};
      entries_[mixer + "out_proj.weight"] = matrix(D, E, share);
    }
  }

  std::vector<TensorInfo> list() const override {
    std::vector<TensorInfo> infos;
    for (const auto& [name, entry] : entries_) infos.push_back({name, DType::f16, entry.shape});
    return infos;
  }
  bool contains(std::string_view name) const override { return entries_.contains(name); }
  std::string where() const override { return name_ + " with random weights"; }

  Tensor get(std::string_view name) const override {
    const auto it = entries_.find(name);
    check(it != entries_.end(), ErrorCode::not_found, "there is no tensor {} in {}", name, where());
    const Entry& entry = it->second;
    Tensor tensor(DType::f16, entry.shape);
    const std::span<std::uint16_t> out = tensor.mutable_as<std::uint16_t>();
    Rng rng(seed_ ^ hash_of(name));
    switch (entry.fill) {
      case Fill::ones:
        for (auto& x : out) x = f32_to_f16(1);
        break;
      case Fill::uniform:
        fill_uniform(out, entry.deviation, rng);
        break;
      case Fill::A_log:
        for (std::size_t i = 0; i < out.size(); ++i) {
          out[i] = f32_to_f16(std::log(static_cast<float>(i % kStates + 1)));
        }
        break;
      case Fill::dt_bias:
        for (auto& x : out) x = f32_to_f16(inverse_softplus_of_step(rng));
        break;
    }
    return tensor;
  }

 private:
  std::string name_;
  std::uint64_t seed_;
  std::map<std::string, Entry, std::less<>> entries_;
};

}  // namespace

std::vector<std::string> dummy_names() {
  std::vector<std::string> names;
  for (const PublicShape& shape : kShapes) names.emplace_back(shape.name);
  return names;
}

DummyModel make_dummy_model(const std::string& name, std::uint64_t seed) {
  for (const PublicShape& shape : kShapes) {
    if (name != shape.name) continue;
    const Json config = {{"architectures", {"MambaForCausalLM"}},
                         {"model_type", "mamba"},
                         {"hidden_size", shape.d_model},
                         {"intermediate_size", 2 * shape.d_model},
                         {"num_hidden_layers", shape.layers},
                         {"state_size", kStates},
                         {"conv_kernel", kConv},
                         {"time_step_rank", shape.d_model / 16},
                         {"vocab_size", kVocab},
                         {"layer_norm_epsilon", 1e-5},
                         {"use_bias", false},
                         {"use_conv_bias", true},
                         {"hidden_act", "silu"},
                         {"tie_word_embeddings", true},
                         {"torch_dtype", "float16"}};
    return {config, std::make_shared<DummySource>(shape, seed)};
  }
  fail(ErrorCode::not_found, "there is no model shape {}", unknown_name(name, dummy_names()));
}

}  // namespace krait
