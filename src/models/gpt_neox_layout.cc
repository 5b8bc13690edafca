// Sizes and sites of GPT-NeoX, from config.json and the tensors' names and shapes.
#include <cmath>

#include "core/check.h"
#include "core/printable.h"
#include "models/cached_attention.h"
#include "models/config.h"
#include "models/describe.h"
#include "models/gpt_neox.h"

namespace krait {
namespace {

constexpr std::string_view kLayers = "gpt_neox.layers.";
constexpr std::string_view kTable = "gpt_neox.embed_in";

Gelu read_gelu(const Json& config) {
  const std::string act = config_string(config, "hidden_act");
  if (act.empty() || act == "gelu") return Gelu::erf;
  check(act == "gelu_new" || act == "gelu_fast" || act == "gelu_pytorch_tanh",
        ErrorCode::unsupported,
        "config.json: hidden_act {} is not supported, known are: gelu, gelu_new, gelu_fast, "
        "gelu_pytorch_tanh",
        printable(act));
  return Gelu::tanh;
}

/// Old configs say rotary_pct, rotary_emb_base and rope_scaling, new ones rope_parameters.
void read_rotary(const Json& config, GptNeoxConfig& c) {
  const Json& rope = config_object(config, "rope_parameters");
  for (const Json* scaling : {&rope, &config_object(config, "rope_scaling")}) {
    for (const char* key : {"rope_type", "type"}) {
      const std::string type = config_string(*scaling, key);
      check(type.empty() || type == "default", ErrorCode::unsupported,
            "config.json: rotary positions of type {} are not supported, known is: default",
            printable(type));
    }
  }
  const auto share = config_positive(rope, {"partial_rotary_factor"});
  const double factor = share ? *share : config_positive(config, {"rotary_pct"}).value_or(0.25);
  const auto base = config_positive(rope, {"rope_theta"});
  c.rotary_base =
      base ? *base : config_positive(config, {"rotary_emb_base", "rope_theta"}).value_or(10000);
  check(factor <= 1, ErrorCode::bad_data,
        "config.json: rotary_pct (partial_rotary_factor) must be at most 1, got {}", factor);
  c.rotary_dims = static_cast<std::int64_t>(static_cast<double>(c.attention.head_dim) * factor);
  check(c.rotary_dims % 2 == 0, ErrorCode::unsupported,
        "config.json: rotary_pct {} of {} channels are {}, an even number is expected", factor,
        c.attention.head_dim, c.rotary_dims);
}

GptNeoxConfig read_config(const Json& config, const TensorSource& tensors,
                          const TensorCheck& shapes) {
  GptNeoxConfig c;
  c.gelu = read_gelu(config);
  c.layers = count_layers(config, shapes, kLayers, ".attention.query_key_value.weight");
  c.head = shapes.find("lm_head.weight") ? "lm_head" : "embed_out";
  c.tied_head = head_is_tied(config, tensors, std::string(kTable), c.head);
  c.norm_eps = static_cast<float>(config_positive(config, {"layer_norm_eps"}).value_or(1e-5));
  c.parallel_residual = config_bool(config, "use_parallel_residual").value_or(true);
  c.attention_bias = config_bool(config, "attention_bias").value_or(false);

  const TensorInfo* table = shapes.find(fmt::format("{}.weight", kTable));
  Vote V, D, F;
  V.add(table, 2, 0);
  D.add(table, 2, 1);
  D.add(shapes.find("gpt_neox.final_layer_norm.weight"), 1, 0);
  for (std::int64_t layer = 0; layer < c.layers; ++layer) {
    const std::string block = fmt::format("{}{}.", kLayers, layer);
    const TensorInfo* qkv = shapes.find(block + "attention.query_key_value.weight");
    const TensorInfo* up = shapes.find(block + "mlp.dense_h_to_4h.weight");
    const TensorInfo* down = shapes.find(block + "mlp.dense_4h_to_h.weight");
    D.add(qkv, 2, 1);
    D.add(qkv, 2, 0, 3);
    D.add(up, 2, 1);
    D.add(down, 2, 0);
    F.add(up, 2, 0);
    F.add(down, 2, 1);
    c.attention_bias |= shapes.find(block + "attention.query_key_value.bias") != nullptr;
  }
  c.vocab_rows = V.result(config_dim(config, {"vocab_size"}), "the vocabulary size");
  c.vocab_size = std::min(config_dim(config, {"vocab_size"}).value_or(c.vocab_rows), c.vocab_rows);
  c.d_model = D.result(config_dim(config, {"hidden_size"}), "hidden_size");
  c.d_ff = F.result(config_dim(config, {"intermediate_size"}), "intermediate_size");
  const auto heads = config_dim(config, {"num_attention_heads"});
  check(heads.has_value(), ErrorCode::bad_data, "config.json has no num_attention_heads");
  check(c.d_model % *heads == 0, ErrorCode::bad_data,
        "config.json: num_attention_heads {} does not divide hidden_size {}", *heads, c.d_model);
  c.attention = {*heads, *heads, c.d_model / *heads};
  read_rotary(config, c);
  return c;
}

void describe_layer(const GptNeoxConfig& c, int layer, ModelLayout& layout) {
  const std::string block = fmt::format("{}{}.", kLayers, layer);
  const std::int64_t D = c.d_model, F = c.d_ff;
  const SiteWriter outer{layout, block, layer}, attention{layout, block + "attention.", layer},
      mlp{layout, block + "mlp.", layer};
  for (const char* norm : {"input_layernorm", "post_attention_layernorm"}) {
    outer.norm(fmt::format("{}.weight", norm), "norm", D);
    outer.norm(fmt::format("{}.bias", norm), "norm", D);
  }
  const int qkv =
      attention.normed(attention.rotatable("query_key_value.input", D), block + "input_layernorm");
  describe_cache(c.attention, attention);
  const int dense = attention.rotatable("dense.input", D);
  const int up =
      mlp.normed(mlp.rotatable("dense_h_to_4h.input", D), block + "post_attention_layernorm");
  const int down = mlp.rotatable("dense_4h_to_h.input", F);
  attention.linear("query_key_value", 3 * D, D, qkv, c.attention_bias);
  layout.linears.back().bias_key = "attention_bias";
  attention.residual_linear("dense", D, D, dense, c.attention_bias);
  layout.linears.back().bias_key = "attention_bias";
  mlp.linear("dense_h_to_4h", F, D, up, true);
  mlp.residual_linear("dense_4h_to_h", D, F, down, true);
}

}  // namespace

GptNeoxConfig read_gpt_neox_config(const Json& config, const TensorSource& tensors) {
  return read_config(config, tensors, TensorCheck(tensors));
}

ModelLayout describe_gpt_neox(const Json& config, const TensorSource& tensors) {
  TensorCheck shapes(tensors);
  for (const std::string_view buffer : kGptNeoxBuffers) shapes.ignore(buffer);
  const GptNeoxConfig c = read_config(config, tensors, shapes);
  const std::string table(kTable);
  ModelLayout layout;
  layout.info = {"GPTNeoXForCausalLM", "gpt_neox",   c.d_model, c.layers,
                 c.vocab_rows,         c.vocab_size, 0};
  layout.linears.push_back({table, "embeddings", -1, c.vocab_rows, c.d_model, -1, false, ""});
  for (int layer = 0; layer < c.layers; ++layer) describe_layer(c, layer, layout);
  const SiteWriter outside{layout, "", -1};
  outside.norm("gpt_neox.final_layer_norm.weight", "norm_f", c.d_model);
  outside.norm("gpt_neox.final_layer_norm.bias", "norm_f", c.d_model);
  const int head =
      outside.normed(outside.rotatable("lm_head.input", c.d_model), "gpt_neox.final_layer_norm");
  layout.linears.push_back({c.head, "lm_head", -1, c.vocab_rows, c.d_model, head, false,
                            c.tied_head ? table : std::string()});
  check_layout(config, shapes, layout);
  return layout;
}

}  // namespace krait
