// The mixer of Mamba-2 (Dao and Gu 2024, arXiv 2405.21060).
//
// Letters: D d_model, E d_inner = H P, H heads, P head_dim, G groups, N d_state, K d_conv, T
// tokens.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "models/batch.h"
#include "models/visitor.h"

namespace krait {

struct Mamba2 {
  static constexpr std::string_view kModule = "mamba";
  /// One of x, B and C on its way through the convolution.
  struct Conv {
    ConvWeight weight;  // its channels
    Site input, output;
    std::size_t buffer = 0;  // in the state
  };
  /// Static scales of an int8 state by clusters, as SsdClusterScales has them (Quamba2).
  struct StateScales {
    Tensor scale, inverse;
    std::vector<std::int32_t> table;
    std::vector<std::int8_t> slot;
  };

  Mamba2Spec spec;
  Weight in_proj;           // [2E + 2GN + H, D], rows z, x, B, C, dt
  std::array<Conv, 3> xBC;  // x, B, C
  Tensor dt_bias;           // [H]
  Tensor a2;                // A_log [H] as it is visited; prepare() makes -exp(A_log) log2(e)
  Tensor D;                 // [H] or [E]; prepare() makes [E]
  Norm norm;                // the gated one, [E]
  Weight out_proj;          // [D, E]

  Site input, z, dt, ssm_state, out_proj_input;
  Tensor in_proj_scale;  // of the columns of in_proj's output, if static
  StateScales state_scales;
  std::size_t ssm_buffer = 0;  // in the state
  bool has_chunks = false;     // with these buffers, the first of an int8 state only
  std::size_t row_scale_buffer = 0, recent_dx_buffer = 0, recent_B_buffer = 0,
              recent_decay_buffer = 0;
};

void visit(Mamba2& m, Visitor& v);
/// Makes what the forward pass reads of what was loaded.
void prepare(Mamba2& m);
/// Adds the block's buffers to the state, in the numerics of its sites.
void add_state(Mamba2& m, int layer, StateLayout& state);
/// out [T, D] = mixer(hidden [T, D]); hidden is input's value.
void run(Context& ctx, const Mamba2& m, const Pass& pass, const Activation& hidden, float* out);

}  // namespace krait
