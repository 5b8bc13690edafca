// Jamba (Lieber et al. 2024, arXiv 2403.19887): Mamba-1 or attention, then a dense feed-forward
// block or a mixture of experts, as transformers' JambaForCausalLM stores it.
#include <algorithm>
#include <array>

#include "core/check.h"
#include "models/config.h"
#include "models/families/all.h"

namespace krait {
namespace {

/// Layers offset, offset + period, ...: which they are only config.json tells.
struct Pattern {
  std::int64_t period, offset;
  bool has(std::int64_t layer) const { return layer % period == offset; }
};

Pattern read_pattern(const Json& config, std::string_view which, Pattern otherwise) {
  const std::string period_key = fmt::format("{}_layer_period", which);
  const std::string offset_key = fmt::format("{}_layer_offset", which);
  const auto it = config.find(offset_key);  // 0 is an offset
  const bool is_zero = it != config.end() && it->is_number_integer() && *it == 0;
  const Pattern pattern{config_dim(config, {period_key}).value_or(otherwise.period),
                        is_zero ? 0 : config_dim(config, {offset_key}).value_or(otherwise.offset)};
  check(pattern.offset < pattern.period, ErrorCode::bad_data,
        "config.json: {} {} must be smaller than {} {}", offset_key, pattern.offset, period_key,
        pattern.period);
  return pattern;
}

Mamba1Spec read_mixer(const ModelFiles& files, std::int64_t D, const std::string& prefix,
                      float eps) {
  const auto size = [&](std::string_view key, std::optional<std::int64_t> told,
                        std::int64_t otherwise) {
    return size_of_model({config_dim(files.config, {key}), told, otherwise}, key);
  };
  const bool bias = config_bool(files.config, "mamba_proj_bias").value_or(false);
  const Mamba1Spec mixer{
      .d_inner = size_of_model({files.dim(prefix + "A_log", 2, 0),
                                config_dim(files.config, {"mamba_expand"}).value_or(2) * D},
                               "mamba_expand hidden_size"),
      .d_state = size("mamba_d_state", files.dim(prefix + "A_log", 2, 1), 16),
      .d_conv = size("mamba_d_conv", files.dim(prefix + "conv1d.weight", 3, 2), 4),
      .dt_rank = size("mamba_dt_rank", files.dim(prefix + "dt_proj.weight", 2, 1), (D + 15) / 16),
      .conv_bias = config_bool(files.config, "mamba_conv_bias").value_or(false) ||
                   files.has(prefix + "conv1d.bias"),
      .in_proj_bias = bias || files.has(prefix + "in_proj.bias"),
      .out_proj_bias = bias || files.has(prefix + "out_proj.bias"),
      .inner_norm_eps = eps};
  check_taps(mixer.d_conv);
  return mixer;
}

DecoderConfig read(const ModelFiles& files) {
  const Json& config = files.config;
  files.activation({"silu"});
  check(!config_dim(config, {"sliding_window"}), ErrorCode::unsupported,
        "config.json: sliding_window is not supported");
  const Pattern attends = read_pattern(config, "attn", {8, 4});
  const Pattern routes = read_pattern(config, "expert", {2, 1});
  const std::int64_t experts = config_dim(config, {"num_experts"}).value_or(16);
  const std::int64_t per_token = config_dim(config, {"num_experts_per_tok"}).value_or(2);
  check(per_token <= experts || experts == 1, ErrorCode::bad_data,
        "config.json: num_experts_per_tok {} of num_experts {} cannot be", per_token, experts);
  check(experts <= 4096, ErrorCode::unsupported,
        "config.json: num_experts {} are not supported, at most 4096 are", experts);
  const float eps = static_cast<float>(config_positive(config, {"rms_norm_eps"}).value_or(1e-6));

  DecoderConfig decoder;
  decoder.ends = files.ends("model.embed_tokens", "lm_head", {"model.final_layernorm", eps});
  const std::int64_t D = decoder.ends.d_model;
  const std::int64_t layers = files.layers("model.layers.", ".input_layernorm.weight");
  const auto block_of = [](std::int64_t layer) { return fmt::format("model.layers.{}.", layer); };
  // Old checkpoints call all feed-forward blocks moe.
  const std::string router = block_of(std::min(routes.offset, layers - 1)) + "moe.router.weight";
  const std::string ff = files.has(router) ? "moe." : "feed_forward.";
  const AttentionSpec attention =
      files.attention(D, block_of(attends.offset) + "self_attn.k_proj.weight");
  const std::int64_t first_mamba = attends.has(0) ? 1 : 0;
  const Mamba1Spec mixer = read_mixer(files, D, block_of(first_mamba) + "mamba.", eps);
  const bool first_routes = experts > 1 && routes.has(0);
  const FeedForwardSpec mlp{
      .d_ff = size_of_model(
          {config_dim(config, {"intermediate_size"}),
           files.dim(block_of(0) + ff + (first_routes ? "experts.0." : "") + "gate_proj.weight", 2,
                     0)},
          "intermediate_size")};
  for (std::int64_t i = 0; i < layers; ++i) {
    const std::string block = block_of(i);
    Block& added = decoder.blocks.emplace_back();
    const NormSpec before{block + "input_layernorm", eps}, between{block + "pre_ff_layernorm", eps};
    if (attends.has(i)) {
      added.branches.push_back({block + "self_attn.", before, attention});
    } else {
      added.branches.push_back({block + "mamba.", before, mixer});
    }
    if (experts > 1 && routes.has(i)) {
      added.branches.push_back({block + ff, between, ExpertsSpec{mlp, experts, per_token}});
    } else {
      added.branches.push_back({block + ff, between, mlp});
    }
  }
  return decoder;
}

constexpr std::array<std::string_view, 2> kNames = {"jamba-1024x8", "jamba-mini-4-layers"};

/// A block of eight layers of a small one, and four layers of Jamba v0.1 (52 billion parameters
/// with all 32), of which two have all 16 experts.
Json published(std::string_view name) {
  constexpr struct {
    int d_model, d_ff, layers, heads, kv_heads, experts, period, offset;
  } kSizes[] = {{1024, 2816, 8, 16, 4, 4, 8, 4}, {4096, 14336, 4, 32, 8, 16, 4, 2}};
  const auto& s = kSizes[std::ranges::find(kNames, name) - kNames.begin()];
  return {{"architectures", {"JambaForCausalLM"}},
          {"model_type", "jamba"},
          {"hidden_size", s.d_model},
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
          {"mamba_dt_rank", s.d_model / 16},
          {"mamba_conv_bias", true},
          {"vocab_size", 65536},
          {"rms_norm_eps", 1e-6},
          {"hidden_act", "silu"},
          {"tie_word_embeddings", false},
          {"torch_dtype", "float16"}};
}

}  // namespace

constinit const Family kJamba = {"JambaForCausalLM", "jamba", "", read, {kNames, published}};

}  // namespace krait
