// Sizes and sites of Mamba-1, from config.json and the tensors' names and shapes.
#include "core/check.h"
#include "core/printable.h"
#include "models/config.h"
#include "models/describe.h"
#include "models/mamba1.h"

namespace krait {
namespace {

constexpr std::string_view kLayers = "backbone.layers.";

Mamba1Config read_config(const Json& config, const TensorSource& tensors,
                         const TensorCheck& shapes) {
  const std::string act = config_string(config, "hidden_act");
  check(act.empty() || act == "silu", ErrorCode::unsupported,
        "config.json: hidden_act {} is not supported, known is: silu", printable(act));
  check(config_bool(config, "rms_norm").value_or(true), ErrorCode::unsupported,
        "config.json: rms_norm false (LayerNorm) is not supported");

  Mamba1Config c;
  c.layers = count_layers(config, shapes, kLayers, ".mixer.A_log");
  c.embeddings =
      shapes.find("backbone.embedding.weight") ? "backbone.embedding" : "backbone.embeddings";
  c.tied_head = head_is_tied(config, tensors, c.embeddings, "lm_head");
  c.norm_eps = static_cast<float>(
      config_positive(config, {"layer_norm_epsilon", "norm_epsilon"}).value_or(1e-5));

  const TensorInfo* table = shapes.find(c.embeddings + ".weight");
  Vote V;
  MambaMixerVote mixer;
  V.add(table, 2, 0);
  mixer.d_model.add(table, 2, 1);
  mixer.d_model.add(shapes.find("backbone.norm_f.weight"), 1, 0);
  for (std::int64_t layer = 0; layer < c.layers; ++layer) {
    mixer.add(shapes, fmt::format("{}{}.mixer.", kLayers, layer));
  }

  const Json& ssm = config_object(config, "ssm_cfg");
  const auto from = [&](std::initializer_list<std::string_view> keys, std::string_view original,
                        std::int64_t otherwise) {
    const auto value = config_dim(config, keys);
    return value ? *value : config_dim(ssm, {original}).value_or(otherwise);
  };
  c.vocab_rows = V.result(config_dim(config, {"vocab_size"}), "the vocabulary size");
  const std::int64_t D =
      mixer.d_model.result(config_dim(config, {"hidden_size", "d_model"}), "d_model");
  const bool bias = config_bool(config, "use_bias").value_or(false);
  c.mixer = mixer.result({.d_model = D,
                          .d_inner = from({"intermediate_size", "d_inner"}, "d_inner",
                                          from({"expand"}, "expand", 2) * D),
                          .d_state = from({"state_size"}, "d_state", 16),
                          .d_conv = from({"conv_kernel"}, "d_conv", 4),
                          .dt_rank = from({"time_step_rank"}, "dt_rank", (D + 15) / 16),
                          .conv_bias = config_bool(config, "use_conv_bias").value_or(false),
                          .in_proj_bias = bias,
                          .out_proj_bias = bias});
  c.vocab_size = std::min(config_dim(config, {"vocab_size"}).value_or(c.vocab_rows), c.vocab_rows);
  return c;
}

}  // namespace

Mamba1Config read_mamba1_config(const Json& config, const TensorSource& tensors) {
  return read_config(config, tensors, TensorCheck(tensors));
}

ModelLayout describe_mamba1(const Json& config, const TensorSource& tensors) {
  TensorCheck shapes(tensors);
  const Mamba1Config c = read_config(config, tensors, shapes);
  const std::int64_t D = c.mixer.d_model;
  ModelLayout layout;
  layout.info = {"MambaForCausalLM", "mamba", D, c.layers, c.vocab_rows, c.vocab_size, 0};
  layout.linears.push_back({c.embeddings, "embeddings", -1, c.vocab_rows, D, -1, false, ""});
  for (int layer = 0; layer < c.layers; ++layer) {
    const std::string block = fmt::format("{}{}.", kLayers, layer);
    SiteWriter{layout, block, layer}.norm("norm.weight", "norm", D);
    describe_mamba_mixer(c.mixer, block + "mixer.", block + "norm", layer, layout);
  }
  const SiteWriter outside{layout, "", -1};
  outside.norm("backbone.norm_f.weight", "norm_f", D);
  outside.linear("lm_head", c.vocab_rows, D,
                 outside.normed(outside.rotatable("lm_head.input", D), "backbone.norm_f"));
  if (c.tied_head) layout.linears.back().tied_to = c.embeddings;
  check_layout(config, shapes, layout);
  return layout;
}

}  // namespace krait
