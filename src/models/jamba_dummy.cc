// Shapes of Jamba: a block of eight layers of a small one, and four layers of Jamba v0.1 (arXiv
// 2403.19887; 52 billion parameters with all 32), of which two have all 16 experts.
#include <algorithm>
#include <array>
#include <cmath>

#include "core/check.h"
#include "models/jamba.h"

namespace krait {
namespace {

constexpr std::array<std::string_view, 2> kNames = {"jamba-1024x8", "jamba-mini-4-layers"};
struct Size {
  std::int64_t d_model, d_ff, layers, heads, kv_heads, experts, period, offset, vocab;
};
constexpr Size kSizes[] = {{1024, 2816, 8, 16, 4, 4, 8, 4, 65536},
                           {4096, 14336, 4, 32, 8, 16, 4, 2, 65536}};
static_assert(std::size(kSizes) == kNames.size());

using Tensors = std::map<std::string, DummyTensor, std::less<>>;

void add_mixer(const std::string& prefix, std::int64_t D, double share, Tensors& tensors) {
  const std::int64_t E = 2 * D, N = 16, K = 4, R = D / 16;
  tensors[prefix + "in_proj.weight"] = dummy_matrix(2 * E, D);
  tensors[prefix + "conv1d.weight"] = {{E, 1, K}, DummyFill::uniform, 0.3};
  tensors[prefix + "conv1d.bias"] = {{E}, DummyFill::uniform, 0.3};
  tensors[prefix + "x_proj.weight"] = dummy_matrix(R + 2 * N, E);
  tensors[prefix + "dt_layernorm.weight"] = {{R}, DummyFill::ones};
  tensors[prefix + "b_layernorm.weight"] = {{N}, DummyFill::ones};
  tensors[prefix + "c_layernorm.weight"] = {{N}, DummyFill::ones};
  tensors[prefix + "dt_proj.weight"] = dummy_matrix(E, R);
  tensors[prefix + "dt_proj.bias"] = {{E}, DummyFill::dt_bias};
  tensors[prefix + "A_log"] = {{E, N}, DummyFill::log_n};
  tensors[prefix + "D"] = {{E}, DummyFill::ones};
  tensors[prefix + "out_proj.weight"] = dummy_matrix(D, E, share);
}

void add_attention(const std::string& prefix, const Size& s, double share, Tensors& tensors) {
  const std::int64_t kv = s.d_model / s.heads * s.kv_heads;
  tensors[prefix + "q_proj.weight"] = dummy_matrix(s.d_model, s.d_model);
  tensors[prefix + "k_proj.weight"] = dummy_matrix(kv, s.d_model);
  tensors[prefix + "v_proj.weight"] = dummy_matrix(kv, s.d_model);
  tensors[prefix + "o_proj.weight"] = dummy_matrix(s.d_model, s.d_model, share);
}

void add_expert(const std::string& prefix, const Size& s, double share, Tensors& tensors) {
  tensors[prefix + "gate_proj.weight"] = dummy_matrix(s.d_ff, s.d_model);
  tensors[prefix + "up_proj.weight"] = dummy_matrix(s.d_ff, s.d_model);
  tensors[prefix + "down_proj.weight"] = dummy_matrix(s.d_model, s.d_ff, share);
}

DummyCheckpoint make(std::string_view name) {
  const Size& s = kSizes[static_cast<std::size_t>(std::find(kNames.begin(), kNames.end(), name) -
                                                  kNames.begin())];
  const std::int64_t D = s.d_model, V = s.vocab;
  DummyCheckpoint result;
  result.config = {{"architectures", {"JambaForCausalLM"}},
                   {"model_type", "jamba"},
                   {"hidden_size", D},
                   {"intermediate_size", s.d_ff},
                   {"num_hidden_layers", s.layers},
                   {"num_attention_heads", s.heads},
                   {"num_key_value_heads", s.kv_heads},
                   {"attn_layer_period", s.period},
                   {"attn_layer_offset", s.offset},
                   {"expert_layer_period", 2},
                   {"expert_layer_offset", 1},
                   {"num_experts", s.experts},
                   {"num_experts_per_tok", 2},
                   {"mamba_d_state", 16},
                   {"mamba_d_conv", 4},
                   {"mamba_expand", 2},
                   {"mamba_dt_rank", D / 16},
                   {"vocab_size", V},
                   {"rms_norm_eps", 1e-6},
                   {"hidden_act", "silu"},
                   {"tie_word_embeddings", false},
                   {"torch_dtype", "float16"}};
  Tensors& tensors = result.tensors;
  tensors["model.embed_tokens.weight"] = {{V, D}, DummyFill::uniform, 0.02};
  tensors["lm_head.weight"] = dummy_matrix(V, D);
  tensors["model.final_layernorm.weight"] = {{D}, DummyFill::ones};
  // The residual sums the outputs of all layers: each adds a share of its variance.
  const double share = 1 / std::sqrt(2 * static_cast<double>(s.layers));
  for (std::int64_t i = 0; i < s.layers; ++i) {
    const std::string block = fmt::format("model.layers.{}.", i);
    tensors[block + "input_layernorm.weight"] = {{D}, DummyFill::ones};
    tensors[block + "pre_ff_layernorm.weight"] = {{D}, DummyFill::ones};
    if (i % s.period == s.offset) {
      add_attention(block + "self_attn.", s, share, tensors);
    } else {
      add_mixer(block + "mamba.", D, share, tensors);
    }
    const std::string feed_forward = block + "feed_forward.";
    if (i % 2 == 0) {
      add_expert(feed_forward, s, share, tensors);
      continue;
    }
    tensors[feed_forward + "router.weight"] = dummy_matrix(s.experts, D);
    for (std::int64_t e = 0; e < s.experts; ++e) {
      add_expert(fmt::format("{}experts.{}.", feed_forward, e), s, share, tensors);
    }
  }
  return result;
}

}  // namespace

DummyShapes jamba_shapes() noexcept { return {kNames, make}; }

}  // namespace krait
