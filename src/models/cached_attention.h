// Causal attention with the rows that a sequence keeps: what GPT-NeoX and Jamba share.
#pragma once

#include <map>
#include <string>

#include "kernels/attention/attention.h"
#include "models/describe.h"
#include "models/model.h"
#include "models/weights.h"

namespace krait {

/// Appends the sites k_cache and v_cache, [T, kv_heads * head_dim] each.
void describe_cache(const AttentionShape& shape, const SiteWriter& to);

struct CachedAttention {
  AttentionShape shape;
  Site k_cache, v_cache;
  std::size_t first_buffer = 0;  ///< in the state: of each head its keys, values and their scales
};

/// Adds the layer's buffers to the state: one for each head, so that its rows lie side by side.
CachedAttention load_attention(const TensorSource& tensors, const ModelLayout& layout,
                               const std::map<std::string, ActivationNumerics>& numerics,
                               const AttentionShape& shape, int layer, StateLayout& state);

/// Keys, values and queries of the batch, positions already applied.
struct HeadInputs {
  HeadRows q, k, v;
};

/// y f32 [T, heads * head_dim]; keys and values are appended to the states, which have room.
void run_attention(Context& ctx, const CachedAttention& attention, const Batch& batch,
                   const HeadInputs& in, const Activation& y);

}  // namespace krait
