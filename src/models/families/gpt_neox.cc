// GPT-NeoX (Black et al. 2022, arXiv 2204.06745), the architecture of Pythia (Biderman et al. 2023,
// arXiv 2304.01373), as transformers' GPTNeoXForCausalLM stores it.
#include <algorithm>
#include <array>

#include "core/check.h"
#include "models/config.h"
#include "models/families/all.h"

namespace krait {
namespace {

DecoderConfig read(const ModelFiles& files) {
  const Json& config = files.config;
  const std::string act = files.activation({"gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh"});
  const float eps = static_cast<float>(config_positive(config, {"layer_norm_eps"}).value_or(1e-5));
  const auto norm = [&](const std::string& name) { return NormSpec{name, eps, true}; };
  const std::string first = "gpt_neox.layers.0.";
  DecoderConfig decoder;
  decoder.ends =
      files.ends("gpt_neox.embed_in", files.has("lm_head.weight") ? "lm_head" : "embed_out",
                 norm("gpt_neox.final_layer_norm"));
  AttentionSpec attention = files.attention(decoder.ends.d_model, "");
  attention.kv_heads = attention.heads;
  attention.fused = true;
  attention.out = "dense";
  attention.rope = files.rope(attention.head_dim, "rotary_pct", 0.25, "rotary_emb_base");
  attention.qkv_bias = config_bool(config, "attention_bias").value_or(false) ||
                       files.has(first + "attention.query_key_value.bias");
  attention.out_bias = attention.qkv_bias;
  const FeedForwardSpec mlp{
      .d_ff = size_of_model({config_dim(config, {"intermediate_size"}),
                             files.dim(first + "mlp.dense_h_to_4h.weight", 2, 0)},
                            "intermediate_size"),
      .act = act.empty() || act == "gelu" ? Nonlinearity::gelu : Nonlinearity::gelu_tanh,
      .gated = false,
      .bias = true,
      .up = "dense_h_to_4h",
      .down = "dense_4h_to_h"};
  const bool parallel = config_bool(config, "use_parallel_residual").value_or(true);
  const std::int64_t layers = files.layers("gpt_neox.layers.", ".attention.query_key_value.weight");
  for (std::int64_t i = 0; i < layers; ++i) {
    const std::string block = fmt::format("gpt_neox.layers.{}.", i);
    decoder.blocks.push_back({{{block + "attention.", norm(block + "input_layernorm"), attention},
                               {block + "mlp.", norm(block + "post_attention_layernorm"), mlp}},
                              parallel});
  }
  return decoder;
}

constexpr std::array<std::string_view, 4> kNames = {"pythia-160m", "pythia-410m", "pythia-1.4b",
                                                    "pythia-2.8b"};

/// Pythia, arXiv 2304.01373, table 1: vocabulary padded to a multiple of 128, untied head.
Json published(std::string_view name) {
  constexpr struct {
    int d_model, layers, heads;
  } kSizes[] = {{768, 12, 12}, {1024, 24, 16}, {2048, 24, 16}, {2560, 32, 32}};
  const auto [D, layers, heads] = kSizes[std::ranges::find(kNames, name) - kNames.begin()];
  return {{"architectures", {"GPTNeoXForCausalLM"}},
          {"model_type", "gpt_neox"},
          {"hidden_size", D},
          {"intermediate_size", 4 * D},
          {"num_hidden_layers", layers},
          {"num_attention_heads", heads},
          {"attention_bias", true},
          {"vocab_size", 50304},
          {"max_position_embeddings", 2048},
          {"layer_norm_eps", 1e-5},
          {"hidden_act", "gelu"},
          {"rotary_pct", 0.25},
          {"rotary_emb_base", 10000},
          {"use_parallel_residual", true},
          {"tie_word_embeddings", false},
          {"torch_dtype", "float16"}};
}

/// Masks and inverse frequencies, in old checkpoints.
constexpr std::string_view kBuffers[] = {".attention.bias", ".attention.masked_bias",
                                         ".attention.rotary_emb.inv_freq"};

}  // namespace

constinit const Family kGptNeox = {"GPTNeoXForCausalLM", "gpt_neox", "", read,
                                   {kNames, published},  kBuffers};

}  // namespace krait
