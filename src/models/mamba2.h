// Mamba-2 (Dao and Gu 2024, "Transformers are SSMs", arXiv 2405.21060), as transformers'
// Mamba2ForCausalLM, the original state-spaces checkpoints and Codestral store it.
//
// Letters: D d_model, E d_inner = H P, H heads, P head_dim, G groups, N d_state, K d_conv, T
// tokens.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "models/dummy.h"
#include "models/layout.h"
#include "models/model.h"

namespace krait {

struct Mamba2Config {
  std::int64_t d_model = 0, d_inner = 0, heads = 0, groups = 0, d_state = 0, d_conv = 0;
  std::int64_t layers = 0;
  std::int64_t vocab_rows = 0;  ///< V
  std::int64_t vocab_size = 0;  ///< ids at or above are padding
  float norm_eps = 1e-5f;
  float dt_min = 0, dt_max = 0;  ///< bounds of the time step; dt_max may be infinity
  bool conv_bias = true, in_proj_bias = false, out_proj_bias = false;
  bool D_per_channel = false;  ///< D is [E] instead of [H]
  bool tied_head = true;       ///< the head is the embedding table
  std::string root;            ///< "" or "model.", which starts every tensor's name
  std::string embeddings;      ///< "backbone.embeddings" or the original "backbone.embedding"

  std::int64_t head_dim() const noexcept { return d_inner / heads; }
  std::int64_t group_channels() const noexcept { return groups * d_state; }  ///< of B, and of C
  std::int64_t conv_channels() const noexcept { return d_inner + 2 * group_channels(); }
};

/// Sizes from the tensors' shapes, from config.json where no tensor tells: the number of groups.
/// Errors: bad_data, unsupported.
Mamba2Config read_mamba2_config(const Json& config, const TensorSource& tensors);

ModelLayout describe_mamba2(const Json& config, const TensorSource& tensors);
std::unique_ptr<Model> load_mamba2(Context& ctx, const Json& config, const TensorSource& tensors);
DummyShapes mamba2_shapes() noexcept;

}  // namespace krait
