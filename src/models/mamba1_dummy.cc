// The published shapes of Mamba-1 (arXiv 2312.00752): vocabulary 50280, tied head.
#include <array>
#include <cmath>

#include "core/check.h"
#include "models/mamba1.h"

namespace krait {
namespace {

constexpr std::array<std::string_view, 5> kNames = {"mamba-130m", "mamba-370m", "mamba-790m",
                                                    "mamba-1.4b", "mamba-2.8b"};
constexpr struct {
  std::int64_t d_model, layers;
} kSizes[] = {{768, 24}, {1024, 48}, {1536, 48}, {2048, 48}, {2560, 64}};
static_assert(std::size(kSizes) == kNames.size());

DummyCheckpoint make(std::string_view name) {
  const auto which =
      static_cast<std::size_t>(std::find(kNames.begin(), kNames.end(), name) - kNames.begin());
  const auto [D, layers] = kSizes[which];
  const std::int64_t V = 50280, E = 2 * D, N = 16, K = 4, R = D / 16;
  DummyCheckpoint result;
  result.config = {{"architectures", {"MambaForCausalLM"}},
                   {"model_type", "mamba"},
                   {"hidden_size", D},
                   {"intermediate_size", E},
                   {"num_hidden_layers", layers},
                   {"state_size", N},
                   {"conv_kernel", K},
                   {"time_step_rank", R},
                   {"vocab_size", V},
                   {"layer_norm_epsilon", 1e-5},
                   {"use_bias", false},
                   {"use_conv_bias", true},
                   {"hidden_act", "silu"},
                   {"tie_word_embeddings", true},
                   {"torch_dtype", "float16"}};
  auto& tensors = result.tensors;
  tensors["backbone.embeddings.weight"] = {{V, D}, DummyFill::uniform, 0.02};
  tensors["backbone.norm_f.weight"] = {{D}, DummyFill::ones};
  // The residual sums the outputs of all layers: each adds a share of its variance.
  const double share = 1 / std::sqrt(static_cast<double>(layers));
  for (std::int64_t i = 0; i < layers; ++i) {
    const std::string layer = fmt::format("backbone.layers.{}.", i);
    const std::string mixer = layer + "mixer.";
    tensors[layer + "norm.weight"] = {{D}, DummyFill::ones};
    tensors[mixer + "in_proj.weight"] = dummy_matrix(2 * E, D);
    tensors[mixer + "conv1d.weight"] = {{E, 1, K}, DummyFill::uniform, 0.3};
    tensors[mixer + "conv1d.bias"] = {{E}, DummyFill::uniform, 0.3};
    tensors[mixer + "x_proj.weight"] = dummy_matrix(R + 2 * N, E);
    tensors[mixer + "dt_proj.weight"] = dummy_matrix(E, R);
    tensors[mixer + "dt_proj.bias"] = {{E}, DummyFill::dt_bias};
    tensors[mixer + "A_log"] = {{E, N}, DummyFill::log_n};
    tensors[mixer + "D"] = {{E}, DummyFill::ones};
    tensors[mixer + "out_proj.weight"] = dummy_matrix(D, E, share);
  }
  return result;
}

}  // namespace

DummyShapes mamba1_shapes() noexcept { return {kNames, make}; }

}  // namespace krait
