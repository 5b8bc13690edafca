// Sizes and sites of Jamba, from config.json and the tensors' names and shapes.
#include <algorithm>

#include "core/check.h"
#include "core/printable.h"
#include "models/cached_attention.h"
#include "models/config.h"
#include "models/describe.h"
#include "models/jamba.h"

namespace krait {
namespace {

constexpr std::string_view kLayers = "model.layers.";
constexpr std::string_view kTable = "model.embed_tokens";

/// Which layers are what: only config.json tells.
void read_pattern(const Json& config, JambaConfig& c) {
  const auto read = [&](std::string_view which, std::int64_t& period, std::int64_t& offset) {
    const std::string period_key = fmt::format("{}_layer_period", which);
    const std::string offset_key = fmt::format("{}_layer_offset", which);
    period = config_dim(config, {period_key}).value_or(period);
    const auto it = config.find(offset_key);  // 0 is an offset
    const bool is_zero = it != config.end() && it->is_number_integer() && *it == 0;
    offset = is_zero ? 0 : config_dim(config, {offset_key}).value_or(offset);
    check(offset < period, ErrorCode::bad_data, "config.json: {} {} must be smaller than {} {}",
          offset_key, offset, period_key, period);
  };
  read("attn", c.attention_period, c.attention_offset);
  read("expert", c.expert_period, c.expert_offset);
  c.experts = config_dim(config, {"num_experts"}).value_or(c.experts);
  c.experts_per_token = config_dim(config, {"num_experts_per_tok"}).value_or(c.experts_per_token);
  check(c.experts_per_token <= c.experts || c.experts == 1, ErrorCode::bad_data,
        "config.json: num_experts_per_tok {} of num_experts {} cannot be", c.experts_per_token,
        c.experts);
  check(c.experts <= 4096, ErrorCode::unsupported,
        "config.json: num_experts {} are not supported, at most 4096 are", c.experts);
}

/// The feed-forward's width, heads of keys and the mixer from the shapes of the layers.
void read_layers(const Json& config, const TensorCheck& shapes, JambaConfig& c) {
  Vote F, K;
  MambaMixerVote mixer;
  mixer.d_model.add(c.d_model);
  bool has_attention = false;
  for (std::int64_t layer = 0; layer < c.layers; ++layer) {
    const std::string block = fmt::format("{}{}.", kLayers, layer);
    const std::string expert =
        block + c.feed_forward + (c.experts_of(layer) > 1 ? "experts.0." : "");
    F.add(shapes.find(expert + "gate_proj.weight"), 2, 0);
    F.add(shapes.find(expert + "up_proj.weight"), 2, 0);
    F.add(shapes.find(expert + "down_proj.weight"), 2, 1);
    if (c.is_attention(layer)) {
      has_attention = true;
      for (const char* role : {"k_proj", "v_proj"}) {
        K.add(shapes.find(fmt::format("{}self_attn.{}.weight", block, role)), 2, 0,
              c.attention.head_dim);
      }
    } else {
      mixer.add(shapes, block + "mamba.");
    }
  }
  c.d_ff = F.result(config_dim(config, {"intermediate_size"}), "intermediate_size");
  c.attention.kv_heads = c.attention.heads;
  if (has_attention) {
    const auto given = config_dim(config, {"num_key_value_heads"});
    c.attention.kv_heads = K.result(given, "num_key_value_heads");
    check(!given || *given == c.attention.kv_heads, ErrorCode::bad_data,
          "config.json: num_key_value_heads {}, but the tensors have {}", *given,
          c.attention.kv_heads);
    check(c.attention.heads % c.attention.kv_heads == 0, ErrorCode::bad_data,
          "config.json: num_key_value_heads {} does not divide num_attention_heads {}",
          c.attention.kv_heads, c.attention.heads);
  }
  c.mixer = mixer.result(
      {.d_model = c.d_model,
       .d_inner = config_dim(config, {"mamba_expand"}).value_or(2) * c.d_model,
       .d_state = config_dim(config, {"mamba_d_state"}).value_or(16),
       .d_conv = config_dim(config, {"mamba_d_conv"}).value_or(4),
       .dt_rank = config_dim(config, {"mamba_dt_rank"}).value_or((c.d_model + 15) / 16),
       .conv_bias = false});
  c.mixer.inner_norm_eps = c.norm_eps;
  c.mixer.bias_key = "mamba_proj_bias";
}

JambaConfig read_config(const Json& config, const TensorSource& tensors,
                        const TensorCheck& shapes) {
  const std::string act = config_string(config, "hidden_act");
  check(act.empty() || act == "silu", ErrorCode::unsupported,
        "config.json: hidden_act {} is not supported, known is: silu", printable(act));
  check(!config_dim(config, {"sliding_window"}), ErrorCode::unsupported,
        "config.json: sliding_window is not supported");
  JambaConfig c;
  read_pattern(config, c);
  c.layers = count_layers(config, shapes, kLayers, ".input_layernorm.weight");
  c.tied_head = head_is_tied(config, tensors, std::string(kTable), "lm_head");
  c.norm_eps = static_cast<float>(config_positive(config, {"rms_norm_eps"}).value_or(1e-6));
  const std::string router =
      fmt::format("{}{}.moe.router.weight", kLayers, std::min(c.expert_offset, c.layers - 1));
  c.feed_forward = shapes.find(router) ? "moe." : "feed_forward.";
  const TensorInfo* table = shapes.find(fmt::format("{}.weight", kTable));
  Vote V, D;
  V.add(table, 2, 0);
  D.add(table, 2, 1);
  D.add(shapes.find("model.final_layernorm.weight"), 1, 0);
  c.vocab_rows = V.result(config_dim(config, {"vocab_size"}), "the vocabulary size");
  c.vocab_size = std::min(config_dim(config, {"vocab_size"}).value_or(c.vocab_rows), c.vocab_rows);
  c.d_model = D.result(config_dim(config, {"hidden_size"}), "hidden_size");
  const auto heads = config_dim(config, {"num_attention_heads"});
  check(heads.has_value(), ErrorCode::bad_data, "config.json has no num_attention_heads");
  check(c.d_model % *heads == 0, ErrorCode::bad_data,
        "config.json: num_attention_heads {} does not divide hidden_size {}", *heads, c.d_model);
  c.attention = {*heads, *heads, c.d_model / *heads};
  read_layers(config, shapes, c);
  return c;
}

void describe_attention_layer(const JambaConfig& c, const std::string& prefix,
                              std::string_view norm, int layer, ModelLayout& layout) {
  const SiteWriter to{layout, prefix, layer};
  const std::int64_t D = c.d_model, kv = c.attention.kv_heads * c.attention.head_dim;
  const int input = to.normed(to.rotatable("q_proj.input", D), norm);
  describe_cache(c.attention, to);
  const int output = to.rotatable("o_proj.input", D);
  to.linear("q_proj", D, D, input);
  to.linear("k_proj", kv, D, input);
  to.linear("v_proj", kv, D, input);
  to.residual_linear("o_proj", D, D, output);
}

/// One expert's products, or those of a dense block: they share their layer's sites.
void describe_feed_forward(const JambaConfig& c, const std::string& prefix, std::string_view norm,
                           int layer, ModelLayout& layout) {
  const std::int64_t experts = c.experts_of(layer), D = c.d_model, F = c.d_ff;
  const SiteWriter to{layout, prefix, layer};
  const int router = experts > 1 ? to.normed(to.rotatable("router.input", D), norm) : -1;
  const int input = to.normed(to.rotatable("gate_proj.input", D), norm);
  const int output = to.rotatable("down_proj.input", F);
  if (experts > 1) to.linear("router", experts, D, router);
  for (std::int64_t e = 0; e < experts; ++e) {
    const SiteWriter expert{layout, experts > 1 ? fmt::format("{}experts.{}.", prefix, e) : prefix,
                            layer};
    expert.linear("gate_proj", F, D, input);
    expert.linear("up_proj", F, D, input);
    expert.linear("down_proj", D, F, output);
    expert.layout.linears.back().adds_to_residual = experts == 1;
  }
}

}  // namespace

JambaConfig read_jamba_config(const Json& config, const TensorSource& tensors) {
  return read_config(config, tensors, TensorCheck(tensors));
}

ModelLayout describe_jamba(const Json& config, const TensorSource& tensors) {
  TensorCheck shapes(tensors);
  const JambaConfig c = read_config(config, tensors, shapes);
  const std::string table(kTable);
  ModelLayout layout;
  layout.info = {"JambaForCausalLM", "jamba", c.d_model, c.layers, c.vocab_rows, c.vocab_size, 0};
  layout.linears.push_back({table, "embeddings", -1, c.vocab_rows, c.d_model, -1, false, ""});
  for (int layer = 0; layer < c.layers; ++layer) {
    const std::string block = fmt::format("{}{}.", kLayers, layer);
    const SiteWriter outer{layout, block, layer};
    outer.norm("input_layernorm.weight", "norm", c.d_model);
    outer.norm("pre_ff_layernorm.weight", "norm", c.d_model);
    if (c.is_attention(layer)) {
      describe_attention_layer(c, block + "self_attn.", block + "input_layernorm", layer, layout);
    } else {
      describe_mamba_mixer(c.mixer, block + "mamba.", block + "input_layernorm", layer, layout);
    }
    describe_feed_forward(c, block + c.feed_forward, block + "pre_ff_layernorm", layer, layout);
  }
  const SiteWriter outside{layout, "", -1};
  outside.norm("model.final_layernorm.weight", "norm_f", c.d_model);
  outside.linear(
      "lm_head", c.vocab_rows, c.d_model,
      outside.normed(outside.rotatable("lm_head.input", c.d_model), "model.final_layernorm"));
  if (c.tied_head) layout.linears.back().tied_to = table;
  check_layout(config, shapes, layout);
  return layout;
}

}  // namespace krait
