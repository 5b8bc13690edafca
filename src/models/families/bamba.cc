// Bamba (IBM, Princeton, CMU, UIUC 2024): Mamba-2 or attention, then a gated feed-forward block, as
// transformers' BambaForCausalLM stores it.
#include <algorithm>
#include <array>

#include "core/check.h"
#include "models/config.h"
#include "models/families/all.h"

namespace krait {
namespace {

/// Layers with attention: a list of indices.
std::vector<bool> read_pattern(const Json& config, std::int64_t layers) {
  std::vector<bool> attends(static_cast<std::size_t>(layers));
  const auto list = config.find("attn_layer_indices");
  if (list == config.end() || list->is_null()) return attends;
  check(list->is_array(), ErrorCode::bad_data,
        "config.json: attn_layer_indices must be a list of layers");
  for (const Json& index : *list) {
    check(index.is_number_integer() && index >= 0 && index < layers, ErrorCode::bad_data,
          "config.json: attn_layer_indices must be layers below {}, got {}", layers,
          index.dump(-1, ' ', true, Json::error_handler_t::replace));
    attends[index.get<std::size_t>()] = true;
  }
  return attends;
}

DecoderConfig read(const ModelFiles& files) {
  const Json& config = files.config;
  files.activation({"silu"});
  check(!config_bool(config, "mlp_bias").value_or(false), ErrorCode::unsupported,
        "config.json: mlp_bias true is not supported");
  const auto size = [&](std::string_view key, std::int64_t otherwise) {
    return config_dim(config, {key}).value_or(otherwise);
  };
  const float eps = static_cast<float>(config_positive(config, {"rms_norm_eps"}).value_or(1e-5));
  DecoderConfig decoder;
  decoder.ends = files.ends("model.embed_tokens", "lm_head", {"model.final_layernorm", eps});
  const std::int64_t D = decoder.ends.d_model;
  const std::int64_t E = size_of_model({size("mamba_expand", 2) * D}, "mamba_expand hidden_size");
  const std::int64_t heads = size("mamba_n_heads", 128);
  check(E % heads == 0 && size("mamba_d_head", E / heads) == E / heads, ErrorCode::bad_data,
        "config.json: mamba_n_heads {} of mamba_d_head {} are not mamba_expand hidden_size {}",
        heads, size("mamba_d_head", E / heads), E);
  const bool bias = config_bool(config, "mamba_proj_bias").value_or(false);
  Mamba2Spec mamba{.heads = heads,
                   .head_dim = E / heads,
                   .groups = size("mamba_n_groups", 1),
                   .d_state = size("mamba_d_state", 256),
                   .d_conv = size("mamba_d_conv", 4),
                   .norm_eps = eps,
                   .conv_bias = config_bool(config, "mamba_conv_bias").value_or(true),
                   .in_proj_bias = bias,
                   .out_proj_bias = bias};
  files.read_time_step_limit(mamba);
  size_of_model({mamba.group_channels()}, "mamba_n_groups mamba_d_state");
  check(heads % mamba.groups == 0, ErrorCode::bad_data,
        "config.json: mamba_n_groups {} does not divide mamba_n_heads {}", mamba.groups, heads);
  check_taps(mamba.d_conv);
  AttentionSpec attention = files.attention(D, "");
  attention.qkv_bias = attention.out_bias = config_bool(config, "attention_bias").value_or(false);
  // Half of each head, whatever attn_rotary_emb says: the class fixes it.
  attention.rope = files.rope(attention.head_dim, "partial_rotary_factor", 0.5, "rope_theta");
  const FeedForwardSpec mlp{.d_ff = size("intermediate_size", 14336)};
  const std::int64_t layers = files.layers("model.layers.", ".input_layernorm.weight");
  const std::vector<bool> attends = read_pattern(config, layers);
  for (std::int64_t i = 0; i < layers; ++i) {
    const std::string block = fmt::format("model.layers.{}.", i);
    const NormSpec before{block + "input_layernorm", eps}, between{block + "pre_ff_layernorm", eps};
    const Branch mixer = attends[static_cast<std::size_t>(i)]
                             ? Branch{block + "self_attn.", before, attention}
                             : Branch{block + "mamba.", before, mamba};
    decoder.blocks.push_back({{mixer, {block + "feed_forward.", between, mlp}}});
  }
  return decoder;
}

constexpr std::array<std::string_view, 2> kNames = {"bamba-9b", "bamba-1024x4"};

/// Bamba-9B, and four layers of a quarter of its width.
Json published(std::string_view name) {
  const bool whole = name == "bamba-9b";
  return {{"architectures", {"BambaForCausalLM"}},
          {"model_type", "bamba"},
          {"hidden_size", whole ? 4096 : 1024},
          {"intermediate_size", whole ? 14336 : 3584},
          {"num_hidden_layers", whole ? 32 : 4},
          {"num_attention_heads", whole ? 32 : 8},
          {"num_key_value_heads", whole ? 8 : 2},
          {"attn_layer_indices", whole ? Json{9, 18, 27} : Json::array({2})},
          {"mamba_n_heads", whole ? 128 : 32},
          {"mamba_d_state", 128},
          {"mamba_conv_bias", true},
          {"vocab_size", 128256},
          {"rms_norm_eps", 1e-5},
          {"hidden_act", "silu"},
          {"tie_word_embeddings", false},
          {"torch_dtype", "bfloat16"}};
}

}  // namespace

constinit const Family kBamba = {"BambaForCausalLM", "bamba", "", read, {kNames, published}};

}  // namespace krait
