// Small random checkpoints of models with attention, for tests.
#pragma once

#include <string>

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

}  // namespace krait
