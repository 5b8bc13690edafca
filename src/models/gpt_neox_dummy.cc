// The published shapes of Pythia (arXiv 2304.01373, table 1): vocabulary padded to a multiple of
// 128, untied head.
#include <algorithm>
#include <array>
#include <cmath>

#include "core/check.h"
#include "models/gpt_neox.h"

namespace krait {
namespace {

constexpr std::array<std::string_view, 4> kNames = {"pythia-160m", "pythia-410m", "pythia-1.4b",
                                                    "pythia-2.8b"};
constexpr struct {
  std::int64_t d_model, layers, heads;
} kSizes[] = {{768, 12, 12}, {1024, 24, 16}, {2048, 24, 16}, {2560, 32, 32}};
static_assert(std::size(kSizes) == kNames.size());

DummyCheckpoint make(std::string_view name) {
  const auto which =
      static_cast<std::size_t>(std::find(kNames.begin(), kNames.end(), name) - kNames.begin());
  const std::int64_t D = kSizes[which].d_model, layers = kSizes[which].layers;
  const std::int64_t heads = kSizes[which].heads, V = 50304, F = 4 * D;
  DummyCheckpoint result;
  result.config = {{"architectures", {"GPTNeoXForCausalLM"}},
                   {"model_type", "gpt_neox"},
                   {"hidden_size", D},
                   {"intermediate_size", F},
                   {"num_hidden_layers", layers},
                   {"num_attention_heads", heads},
                   {"vocab_size", V},
                   {"max_position_embeddings", 2048},
                   {"layer_norm_eps", 1e-5},
                   {"hidden_act", "gelu"},
                   {"rotary_pct", 0.25},
                   {"rotary_emb_base", 10000},
                   {"use_parallel_residual", true},
                   {"tie_word_embeddings", false},
                   {"torch_dtype", "float16"}};
  auto& tensors = result.tensors;
  const auto norm = [&](const std::string& prefix) {
    tensors[prefix + ".weight"] = {{D}, DummyFill::ones};
    tensors[prefix + ".bias"] = {{D}, DummyFill::zeros};
  };
  const auto linear = [&](const std::string& prefix, std::int64_t rows, std::int64_t cols,
                          double gain) {
    tensors[prefix + ".weight"] = dummy_matrix(rows, cols, gain);
    tensors[prefix + ".bias"] = {{rows}, DummyFill::uniform, 0.02};
  };
  tensors["gpt_neox.embed_in.weight"] = {{V, D}, DummyFill::uniform, 0.02};
  tensors["embed_out.weight"] = dummy_matrix(V, D);
  norm("gpt_neox.final_layer_norm");
  // The residual sums the outputs of all layers: each adds a share of its variance.
  const double share = 1 / std::sqrt(2 * static_cast<double>(layers));
  for (std::int64_t i = 0; i < layers; ++i) {
    const std::string block = fmt::format("gpt_neox.layers.{}.", i);
    norm(block + "input_layernorm");
    norm(block + "post_attention_layernorm");
    linear(block + "attention.query_key_value", 3 * D, D, 1);
    linear(block + "attention.dense", D, D, share);
    linear(block + "mlp.dense_h_to_4h", F, D, 1);
    linear(block + "mlp.dense_4h_to_h", D, F, share);
  }
  return result;
}

}  // namespace

DummyShapes gpt_neox_shapes() noexcept { return {kNames, make}; }

}  // namespace krait
