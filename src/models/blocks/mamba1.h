// The mixer of Mamba-1 (Gu and Dao 2023, arXiv 2312.00752): a gated selective scan behind a short
// convolution. Jamba's has norms for dt, B and C besides (Lieber et al. 2024, arXiv 2403.19887).
//
// Letters: D d_model, E d_inner, N d_state, K d_conv, R dt_rank, T tokens.
#pragma once

#include <array>

#include "models/batch.h"
#include "models/visitor.h"

namespace krait {

struct Mamba1 {
  static constexpr std::string_view kModule = "mamba";
  Mamba1Spec spec;
  Weight in_proj;   // [2E, D], rows x then z
  ConvWeight conv;  // [K, E]
  Weight x_proj;    // [R + 2N, E], rows dt, B, C
  Weight dt_proj;   // [E, R]
  Tensor dt_bias;   // [E]
  Tensor a2;        // A_log [E, N] as it is visited; prepare() makes [N, E] = -exp(A_log) log2(e)
  Tensor D;         // [E]
  Weight out_proj;  // [D, E]
  std::array<Norm, 3> inner_norms;  // of dt, B, C, if the spec has them

  Site input, conv_input, z, x_proj_input, dt_proj_input, B, C, dt_proj_output, ssm_state,
      out_proj_input;
  Tensor xz_scale, dt_B_C_scale;  // of the columns of in_proj's and x_proj's output, if static
  std::size_t conv_buffer = 0, ssm_buffer = 0;  // in the state
};

void visit(Mamba1& m, Visitor& v);
/// Makes what the forward pass reads of what was loaded.
void prepare(Mamba1& m);
/// Adds the block's buffers to the state, in the numerics of its sites.
void add_state(Mamba1& m, int layer, StateLayout& state);
/// out [T, D] = mixer(hidden [T, D]); hidden is input's value.
void run(Context& ctx, const Mamba1& m, const Pass& pass, const Activation& hidden, float* out);

}  // namespace krait
