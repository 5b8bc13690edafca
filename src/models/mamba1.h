// Mamba-1 (Gu and Dao 2023, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces"), as
// transformers' MambaForCausalLM and the original state-spaces checkpoints store it.
//
// Letters: V vocabulary rows, D d_model, E d_inner, N d_state, K d_conv, R dt_rank.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "models/layout.h"
#include "models/model.h"

namespace krait {

struct Mamba1Config {
  std::int64_t layers = 0;
  std::int64_t vocab_rows = 0;  ///< V
  std::int64_t vocab_size = 0;  ///< ids at or above are padding
  std::int64_t d_model = 0;     ///< D
  std::int64_t d_inner = 0;     ///< E
  std::int64_t d_state = 0;     ///< N
  std::int64_t d_conv = 0;      ///< K
  std::int64_t dt_rank = 0;     ///< R
  float norm_eps = 1e-5f;
  bool conv_bias = true, in_proj_bias = false, out_proj_bias = false;
  bool tied_head = true;   ///< the head is the embedding table
  std::string embeddings;  ///< "backbone.embeddings" or the original "backbone.embedding"
};

/// Sizes from the tensors' shapes, from config.json only where no tensor tells. Errors: bad_data,
/// unsupported.
Mamba1Config read_mamba1_config(const Json& config, const TensorSource& tensors);

ModelLayout describe_mamba1(const Json& config, const TensorSource& tensors);
std::unique_ptr<Model> load_mamba1(Context& ctx, const Json& config, const TensorSource& tensors);

/// Activation sites of a layer, in the order of ModelLayout::activations, which lists them layer by
/// layer and ends with lm_head.input.
enum class Mamba1Site {
  in_proj_input,
  conv1d_input,
  z,
  x_proj_input,
  dt_proj_input,
  B,
  C,
  dt_proj_output,
  ssm_state,
  out_proj_input,
  count
};

}  // namespace krait
