// The published shapes of Mamba-2 (arXiv 2405.21060): vocabulary 50288, tied head, heads of 64
// channels, 128 states, one group; and the 8B hybrid-free model of arXiv 2406.07887: 8 groups, own
// head.
#include <array>
#include <cmath>

#include "core/check.h"
#include "models/mamba2.h"

namespace krait {
namespace {

constexpr std::array<std::string_view, 6> kNames = {"mamba2-130m", "mamba2-370m", "mamba2-780m",
                                                    "mamba2-1.3b", "mamba2-2.7b", "mamba2-8b"};
constexpr struct {
  std::int64_t d_model, layers, groups, vocab_size;
} kSizes[] = {{768, 24, 1, 50288},  {1024, 48, 1, 50288}, {1536, 48, 1, 50288},
              {2048, 48, 1, 50288}, {2560, 64, 1, 50288}, {4096, 56, 8, 256000}};
static_assert(std::size(kSizes) == kNames.size());

DummyCheckpoint make(std::string_view name) {
  const auto which =
      static_cast<std::size_t>(std::find(kNames.begin(), kNames.end(), name) - kNames.begin());
  const auto [D, layers, G, V] = kSizes[which];
  const bool tied = G == 1;
  const std::int64_t E = 2 * D, N = 128, P = 64, H = E / P, K = 4, conv = E + 2 * G * N;
  DummyCheckpoint result;
  result.config = {{"architectures", {"Mamba2ForCausalLM"}},
                   {"model_type", "mamba2"},
                   {"hidden_size", D},
                   {"num_hidden_layers", layers},
                   {"state_size", N},
                   {"num_heads", H},
                   {"head_dim", P},
                   {"n_groups", G},
                   {"expand", 2},
                   {"conv_kernel", K},
                   {"vocab_size", V},
                   {"layer_norm_epsilon", 1e-5},
                   {"use_bias", false},
                   {"use_conv_bias", true},
                   {"hidden_act", "silu"},
                   {"tie_word_embeddings", tied},
                   {"torch_dtype", "float16"}};
  auto& tensors = result.tensors;
  tensors["backbone.embeddings.weight"] = {{V, D}, DummyFill::uniform, 0.02};
  if (!tied) tensors["lm_head.weight"] = dummy_matrix(V, D);
  tensors["backbone.norm_f.weight"] = {{D}, DummyFill::ones};
  // The residual sums the outputs of all layers: each adds a share of its variance.
  const double share = 1 / std::sqrt(static_cast<double>(layers));
  for (std::int64_t i = 0; i < layers; ++i) {
    const std::string layer = fmt::format("backbone.layers.{}.", i);
    const std::string mixer = layer + "mixer.";
    tensors[layer + "norm.weight"] = {{D}, DummyFill::ones};
    tensors[mixer + "in_proj.weight"] = dummy_matrix(E + conv + H, D);
    tensors[mixer + "conv1d.weight"] = {{conv, 1, K}, DummyFill::uniform, 0.3};
    tensors[mixer + "conv1d.bias"] = {{conv}, DummyFill::uniform, 0.3};
    tensors[mixer + "dt_bias"] = {{H}, DummyFill::dt_bias};
    tensors[mixer + "A_log"] = {{H}, DummyFill::log_16};
    tensors[mixer + "D"] = {{H}, DummyFill::ones};
    tensors[mixer + "norm.weight"] = {{E}, DummyFill::ones};
    tensors[mixer + "out_proj.weight"] = dummy_matrix(D, E, share);
  }
  return result;
}

}  // namespace

DummyShapes mamba2_shapes() noexcept { return {kNames, make}; }

}  // namespace krait
