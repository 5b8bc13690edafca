// Small random checkpoints of models with attention, for tests.
#pragma once

#include <cmath>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "models/test_support.h"

namespace krait {

/// Odd sizes on purpose: vectors and tiles end in the middle.
struct TinyNeox {
  std::int64_t V = 61, D = 30, heads = 3, F = 52, layers = 2;
  double rotary_pct = 0.4;
  bool parallel = true, attention_bias = true, tied = false;
  DType dtype = DType::f32;  ///< of the linears and the table
  std::uint64_t seed = 1;
};

inline TestCheckpoint tiny_neox(const TinyNeox& m = {}) {
  TestCheckpoint result;
  RandomTensors random{result, m.dtype, Rng(m.seed)};
  const auto norm = [&](const std::string& name) {
    random.add(name + ".weight", {m.D}, 0.5, 1.5);
    random.add(name + ".bias", {m.D}, -0.3, 0.3);
  };
  random.add("gpt_neox.embed_in.weight", {m.V, m.D}, -1, 1, m.dtype);
  if (!m.tied) random.linear("embed_out", m.V, m.D);
  norm("gpt_neox.final_layer_norm");
  for (std::int64_t i = 0; i < m.layers; ++i) {
    const std::string block = "gpt_neox.layers." + std::to_string(i) + ".";
    norm(block + "input_layernorm");
    norm(block + "post_attention_layernorm");
    random.linear(block + "attention.query_key_value", 3 * m.D, m.D, m.attention_bias);
    random.linear(block + "attention.dense", m.D, m.D, m.attention_bias);
    random.linear(block + "mlp.dense_h_to_4h", m.F, m.D, true);
    random.linear(block + "mlp.dense_4h_to_h", m.D, m.F, true);
  }
  result.config = {{"model_type", "gpt_neox"},
                   {"architectures", {"GPTNeoXForCausalLM"}},
                   {"hidden_size", m.D},
                   {"num_hidden_layers", m.layers},
                   {"num_attention_heads", m.heads},
                   {"vocab_size", m.V},
                   {"rotary_pct", m.rotary_pct},
                   {"use_parallel_residual", m.parallel},
                   {"tie_word_embeddings", m.tied},
                   {"layer_norm_eps", 1e-5}};
  return result;
}

/// Layers: attention where i % 3 == 1, experts where i % 2 == 1.
struct TinyJamba {
  std::int64_t V = 61, D = 30, heads = 6, kv_heads = 2, F = 26, N = 5, K = 4, R = 3, layers = 4;
  std::int64_t experts = 3, experts_per_token = 2;
  bool tied = false;
  DType dtype = DType::f32;  ///< of the linears and the table
  std::uint64_t seed = 1;
};

inline void add_tiny_mixer(const TinyJamba& m, const std::string& mixer, RandomTensors& random) {
  const std::int64_t E = 2 * m.D;
  random.linear(mixer + "in_proj", 2 * E, m.D);
  random.add(mixer + "conv1d.weight", {E, 1, m.K}, -0.8, 0.8);
  random.add(mixer + "conv1d.bias", {E}, -0.3, 0.3);
  random.linear(mixer + "x_proj", m.R + 2 * m.N, E);
  random.add(mixer + "dt_layernorm.weight", {m.R}, 0.5, 1.5);
  random.add(mixer + "b_layernorm.weight", {m.N}, 0.5, 1.5);
  random.add(mixer + "c_layernorm.weight", {m.N}, 0.5, 1.5);
  random.linear(mixer + "dt_proj", E, m.R);
  random.add(mixer + "dt_proj.bias", {E}, -4, 0);
  random.add(mixer + "A_log", {E, m.N}, 0, 2.5);
  random.add(mixer + "D", {E}, 0.5, 1.5);
  random.linear(mixer + "out_proj", m.D, E);
}

inline TestCheckpoint tiny_jamba(const TinyJamba& m = {}) {
  TestCheckpoint result;
  RandomTensors random{result, m.dtype, Rng(m.seed)};
  const std::int64_t kv = m.D / m.heads * m.kv_heads;
  const auto expert = [&](const std::string& prefix) {
    random.linear(prefix + "gate_proj", m.F, m.D);
    random.linear(prefix + "up_proj", m.F, m.D);
    random.linear(prefix + "down_proj", m.D, m.F);
  };
  random.add("model.embed_tokens.weight", {m.V, m.D}, -1, 1, m.dtype);
  if (!m.tied) random.linear("lm_head", m.V, m.D);
  random.add("model.final_layernorm.weight", {m.D}, 0.5, 1.5);
  for (std::int64_t i = 0; i < m.layers; ++i) {
    const std::string block = "model.layers." + std::to_string(i) + ".";
    random.add(block + "input_layernorm.weight", {m.D}, 0.5, 1.5);
    random.add(block + "pre_ff_layernorm.weight", {m.D}, 0.5, 1.5);
    if (i % 3 == 1) {
      random.linear(block + "self_attn.q_proj", m.D, m.D);
      random.linear(block + "self_attn.k_proj", kv, m.D);
      random.linear(block + "self_attn.v_proj", kv, m.D);
      random.linear(block + "self_attn.o_proj", m.D, m.D);
    } else {
      add_tiny_mixer(m, block + "mamba.", random);
    }
    if (i % 2 == 0 || m.experts == 1) {
      expert(block + "feed_forward.");
      continue;
    }
    random.linear(block + "feed_forward.router", m.experts, m.D);
    for (std::int64_t e = 0; e < m.experts; ++e) {
      expert(block + "feed_forward.experts." + std::to_string(e) + ".");
    }
  }
  result.config = {{"model_type", "jamba"},
                   {"architectures", {"JambaForCausalLM"}},
                   {"hidden_size", m.D},
                   {"intermediate_size", m.F},
                   {"num_hidden_layers", m.layers},
                   {"num_attention_heads", m.heads},
                   {"num_key_value_heads", m.kv_heads},
                   {"attn_layer_period", 3},
                   {"attn_layer_offset", 1},
                   {"expert_layer_period", 2},
                   {"expert_layer_offset", 1},
                   {"num_experts", m.experts},
                   {"num_experts_per_tok", m.experts_per_token},
                   {"vocab_size", m.V},
                   {"tie_word_embeddings", m.tied},
                   {"rms_norm_eps", 1e-6}};
  return result;
}

/// Layers: attention where i == 1, with half of each head rotated.
struct TinyBamba {
  std::int64_t V = 61, D = 40, heads = 5, kv_heads = 1, F = 26, mamba_heads = 10, layers = 3;
  DType dtype = DType::f32;  ///< of the linears and the table
};

inline TestCheckpoint tiny_bamba(const TinyBamba& m = {}) {
  return tiny_checkpoint({{"model_type", "bamba"},
                          {"hidden_size", m.D},
                          {"intermediate_size", m.F},
                          {"num_hidden_layers", m.layers},
                          {"num_attention_heads", m.heads},
                          {"num_key_value_heads", m.kv_heads},
                          {"attn_layer_indices", {1}},
                          {"mamba_n_heads", m.mamba_heads},
                          {"mamba_n_groups", 2},
                          {"mamba_d_state", 5},
                          {"mamba_proj_bias", true},
                          {"attention_bias", true},
                          {"vocab_size", m.V},
                          {"tie_word_embeddings", false}},
                         m.dtype);
}

inline ModelLayout layout_of(const TestCheckpoint& checkpoint) {
  return describe_model(checkpoint.config, *checkpoint.source());
}

/// Of all tokens, at this machine's best level.
inline std::vector<float> logits_of(const TestCheckpoint& checkpoint,
                                    std::span<const std::int32_t> ids,
                                    const LoadOptions& options = {}) {
  TestRuntime runtime(select_isa());
  const auto model = load_model(runtime.ctx, checkpoint.config, *checkpoint.source(), options);
  SequenceState state(model->state_layout());
  return all_logits(runtime.ctx, *model, ids, state);
}

/// Root mean square of the difference over that of the expected values; infinite for other sizes.
inline double relative_error(const std::vector<float>& got, const std::vector<float>& expected) {
  if (got.size() != expected.size()) return std::numeric_limits<double>::infinity();
  double errors = 0, squares = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    errors += std::pow(static_cast<double>(got[i]) - expected[i], 2);
    squares += std::pow(static_cast<double>(expected[i]), 2);
  }
  return std::sqrt(errors / squares);
}

}  // namespace krait
