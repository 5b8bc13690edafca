// Mamba-1 (Gu and Dao 2023, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces",
// arXiv 2312.00752), as transformers' MambaForCausalLM and the original state-spaces checkpoints
// store it.
#include <algorithm>
#include <array>

#include "core/check.h"
#include "models/config.h"
#include "models/families/all.h"

namespace krait {
namespace {

DecoderConfig read(const ModelFiles& files) {
  const Json& config = files.config;
  const Json& ssm = config_object(config, "ssm_cfg");
  files.activation({"silu"});
  check(config_bool(config, "rms_norm").value_or(true), ErrorCode::unsupported,
        "config.json: rms_norm false (LayerNorm) is not supported");
  const float eps = static_cast<float>(
      config_positive(config, {"layer_norm_epsilon", "norm_epsilon"}).value_or(1e-5));
  DecoderConfig decoder;
  decoder.ends = files.ends(
      files.has("backbone.embedding.weight") ? "backbone.embedding" : "backbone.embeddings",
      "lm_head", {"backbone.norm_f", eps});
  const std::string first = "backbone.layers.0.mixer.";
  const auto size = [&](Keys keys, std::string_view original, auto... otherwise) {
    const auto own = config_dim(config, keys);
    return size_of_model({own ? own : config_dim(ssm, {original}), otherwise...}, original);
  };
  const std::int64_t D = decoder.ends.d_model;
  const std::int64_t expand = size({"expand"}, "expand", 2);
  const bool bias = config_bool(config, "use_bias").value_or(false);
  const Mamba1Spec mixer{
      .d_inner = size({"intermediate_size", "d_inner"}, "d_inner", files.dim(first + "A_log", 2, 0),
                      std::min(expand, std::int64_t{1} << 20) * D),
      .d_state = size({"state_size"}, "d_state", files.dim(first + "A_log", 2, 1), 16),
      .d_conv = size({"conv_kernel"}, "d_conv", files.dim(first + "conv1d.weight", 3, 2), 4),
      .dt_rank = size({"time_step_rank"}, "dt_rank", files.dim(first + "dt_proj.weight", 2, 1),
                      (D + 15) / 16),
      .conv_bias =
          config_bool(config, "use_conv_bias").value_or(false) || files.has(first + "conv1d.bias"),
      .in_proj_bias = bias || files.has(first + "in_proj.bias"),
      .out_proj_bias = bias || files.has(first + "out_proj.bias")};
  check_taps(mixer.d_conv);
  const std::int64_t layers = files.layers("backbone.layers.", ".mixer.A_log");
  for (std::int64_t i = 0; i < layers; ++i) {
    const std::string block = fmt::format("backbone.layers.{}.", i);
    decoder.blocks.push_back({{{block + "mixer.", {block + "norm", eps}, mixer}}});
  }
  return decoder;
}

constexpr std::array<std::string_view, 5> kNames = {"mamba-130m", "mamba-370m", "mamba-790m",
                                                    "mamba-1.4b", "mamba-2.8b"};

/// arXiv 2312.00752: vocabulary 50280, tied head.
Json published(std::string_view name) {
  constexpr struct {
    int d_model, layers;
  } kSizes[] = {{768, 24}, {1024, 48}, {1536, 48}, {2048, 48}, {2560, 64}};
  const auto [D, layers] = kSizes[std::ranges::find(kNames, name) - kNames.begin()];
  return {{"architectures", {"MambaForCausalLM"}},
          {"model_type", "mamba"},
          {"hidden_size", D},
          {"intermediate_size", 2 * D},
          {"num_hidden_layers", layers},
          {"state_size", 16},
          {"conv_kernel", 4},
          {"time_step_rank", D / 16},
          {"vocab_size", 50280},
          {"layer_norm_epsilon", 1e-5},
          {"use_bias", false},
          {"use_conv_bias", true},
          {"hidden_act", "silu"},
          {"tie_word_embeddings", true},
          {"torch_dtype", "float16"}};
}

}  // namespace

constinit const Family kMamba = {"MambaForCausalLM", "mamba", "Mamba1", read, {kNames, published}};

}  // namespace krait
