// The mixer of a Mamba-1 block (Gu and Dao 2023, arXiv 2312.00752, algorithm 2 and figure 3): in
// Mamba it is the whole block, in Jamba one kind of layer.
//
// Letters: D d_model, E d_inner, N d_state, K d_conv, R dt_rank, T tokens.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "kernels/causal_conv1d/causal_conv1d.h"
#include "models/decoder.h"
#include "models/describe.h"
#include "models/weights.h"

namespace krait {

struct MambaMixerShape {
  std::int64_t d_model = 0;  ///< D
  std::int64_t d_inner = 0;  ///< E
  std::int64_t d_state = 0;  ///< N
  std::int64_t d_conv = 0;   ///< K
  std::int64_t dt_rank = 0;  ///< R
  bool conv_bias = true, in_proj_bias = false, out_proj_bias = false;
  float inner_norm_eps = 0;  ///< above 0: dt, B and C pass through RMSNorms of their own (Jamba)
  std::string_view bias_key = "use_bias";  ///< of config.json, for in_proj and out_proj
};

/// The sizes of mixers from the shapes of their tensors.
struct MambaMixerVote {
  void add(const TensorCheck& tensors, const std::string& prefix);
  /// `from_config` settles ties and stands in where no tensor tells. Errors: bad_data, unsupported.
  MambaMixerShape result(const MambaMixerShape& from_config) const;

  Vote d_model, d_inner, d_state, d_conv, dt_rank;
  bool conv_bias = false, in_proj_bias = false, out_proj_bias = false;
};

/// Appends the sites of one mixer to the layout. `prefix` starts its tensors' names:
/// "backbone.layers.3.mixer."; `norm` makes its input. Roles: see docs/architecture.md.
void describe_mamba_mixer(const MambaMixerShape& shape, const std::string& prefix,
                          std::string_view norm, int layer, ModelLayout& layout);

struct MambaMixer {
  MambaMixerShape shape;
  Weight in_proj;   // [2E, D], rows x then z
  ConvWeight conv;  // [K, E]
  Weight x_proj;    // [R + 2N, E], rows dt, B, C
  Weight dt_proj;   // [E, R]
  Tensor dt_bias;   // [E]
  Tensor a2;        // [N, E] = -exp(A_log) log2(e)
  Tensor D;         // [E]
  Weight out_proj;  // [D, E]

  Site in_proj_input, conv_input, z, x_proj_input, dt_proj_input, B, C, dt_proj_output, ssm_state,
      out_proj_input;
  std::array<Norm, 3> inner_norms;  // of dt, B, C, if the shape has them
  Tensor xz_scale, dt_B_C_scale;    // of the columns of in_proj's and x_proj's output, if static
  std::size_t conv_buffer = 0, ssm_buffer = 0;  // in the state
};

/// Loads the mixer of that layer and adds its buffers to the state.
MambaMixer load_mamba_mixer(Context& ctx, const TensorSource& tensors, const ModelLayout& layout,
                            const std::map<std::string, ActivationNumerics>& numerics,
                            const MambaMixerShape& shape, int layer, StateLayout& state);

/// out [T, D] = mixer(hidden [T, D]); hidden is in_proj_input's value.
void run_mamba_mixer(Context& ctx, const MambaMixer& mixer, const Batch& batch,
                     const Activation& hidden, float* out);

std::size_t read_bytes(const MambaMixer& mixer) noexcept;

}  // namespace krait
