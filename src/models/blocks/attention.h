// Causal attention over the rows that a sequence keeps: heads of keys shared by groups of queries
// (Ainslie et al. 2023, arXiv 2305.13245), rotary positions, one fused product or three.
//
// Letters: D d_model, T tokens.
#pragma once

#include "models/batch.h"
#include "models/visitor.h"

namespace krait {

struct Attention {
  static constexpr std::string_view kModule = "attention";
  AttentionSpec spec;
  Weight q, k, v;  // [heads head_dim, D], [kv_heads head_dim, D] twice; or
  Weight qkv;      // [3 heads head_dim, D], of each head the rows of q, k and v
  Weight out;      // [D, heads head_dim]

  Site input, k_cache, v_cache, out_input;
  std::size_t first_buffer = 0;  // in the state: of each head its keys, values and their scales
  std::size_t angles = 0;        // in Pass::angles, if the spec has rotary positions
};

void visit(Attention& a, Visitor& v);
/// Adds the block's buffers: one for each head, so that its rows lie side by side.
void add_state(Attention& a, int layer, StateLayout& state);
/// out [T, D] = attention(hidden [T, D]); hidden is input's value. Keys and values are appended to
/// the states, which have room.
void run(Context& ctx, const Attention& a, const Pass& pass, const Activation& hidden, float* out);

}  // namespace krait
