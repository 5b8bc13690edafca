// An architecture as plain data: what a family's reader makes of config.json. Nothing else decides
// what the forward pass computes, and so its text is what tells models apart (fingerprint.h):
// members are added at the end of their struct, with a default that means what was before.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <variant>
#include <vector>

namespace krait {

/// RMSNorm (Zhang and Sennrich 2019, arXiv 1910.07467), or LayerNorm (Ba et al. 2016, arXiv
/// 1607.06450) where there is a bias.
struct NormSpec {
  std::string name;  ///< its tensors are name + ".weight" and ".bias"
  float eps = 1e-5f;
  bool has_bias = false;
};

/// The mixer of Mamba-1: blocks/mamba1.h.
struct Mamba1Spec {
  std::int64_t d_inner = 0;  ///< E
  std::int64_t d_state = 0;  ///< N
  std::int64_t d_conv = 0;   ///< K
  std::int64_t dt_rank = 0;  ///< R
  bool conv_bias = false, in_proj_bias = false, out_proj_bias = false;
  float inner_norm_eps = 0;  ///< above 0: dt, B and C pass through RMSNorms of their own (Jamba)
};

/// The mixer of Mamba-2: blocks/mamba2.h.
struct Mamba2Spec {
  std::int64_t heads = 0;     ///< H
  std::int64_t head_dim = 0;  ///< P
  std::int64_t groups = 1;    ///< G, of heads that share B and C
  std::int64_t d_state = 0;   ///< N
  std::int64_t d_conv = 0;    ///< K
  float norm_eps = 1e-5f;     ///< of the gated norm
  float dt_min = 0, dt_max = std::numeric_limits<float>::infinity();  ///< of the time step
  bool conv_bias = false, in_proj_bias = false, out_proj_bias = false;
  bool D_per_channel = false;  ///< D is [E] instead of [H]

  std::int64_t d_inner() const noexcept { return heads * head_dim; }         ///< E
  std::int64_t group_channels() const noexcept { return groups * d_state; }  ///< of B, and of C
  std::int64_t conv_channels() const noexcept { return d_inner() + 2 * group_channels(); }
};

/// Rotary positions (Su et al. 2021, arXiv 2104.09864) of the first `dims` channels of each head;
/// the others carry none.
struct RopeSpec {
  std::int64_t dims = 0;  ///< even; 0: no positions
  double base = 10000;

  bool operator==(const RopeSpec&) const = default;
};

/// Causal attention: blocks/attention.h. Its products are called as the family's tensors are.
struct AttentionSpec {
  std::int64_t heads = 0;     ///< of queries
  std::int64_t kv_heads = 0;  ///< of keys and values: heads / kv_heads queries share one
  std::int64_t head_dim = 0;
  RopeSpec rope = {};
  bool fused = false;  ///< one product whose rows are, head by head, those of q, k and v
  bool qkv_bias = false, out_bias = false;
  std::string q = "q_proj", k = "k_proj", v = "v_proj", qkv = "query_key_value", out = "o_proj";
};

enum class Nonlinearity { silu, gelu, gelu_tanh };

/// A feed-forward block: blocks/feed_forward.h.
struct FeedForwardSpec {
  std::int64_t d_ff = 0;  ///< F
  Nonlinearity act = Nonlinearity::silu;
  bool gated = true;  ///< act(gate) * up; silu only
  bool bias = false;
  std::string gate = "gate_proj", up = "up_proj", down = "down_proj";
};

/// A mixture of feed-forward blocks: blocks/experts.h.
struct ExpertsSpec {
  FeedForwardSpec each;
  std::int64_t experts = 0;    ///< more than one
  std::int64_t per_token = 0;  ///< of them
};

using OpSpec = std::variant<Mamba1Spec, Mamba2Spec, AttentionSpec, FeedForwardSpec, ExpertsSpec>;

/// residual += scale * op(norm(residual))
struct Branch {
  std::string prefix;  ///< of the op's tensors: "model.layers.3.mamba."
  NormSpec norm;
  OpSpec op;
  float scale = 1;
  /// Of its places, "" for the prefix: a branch with the prefix of an earlier one has its weights,
  /// but states and scales of its own.
  std::string sites = {};
};

/// What people call a layer.
struct Block {
  std::vector<Branch> branches;  ///< one after the other, or
  bool parallel = false;         ///< all of them from the same residual
};

/// The two ends: blocks/embedding_and_head.h.
struct EndsSpec {
  std::string table, head;  ///< their tensors are table + ".weight" and head + ".weight"
  NormSpec norm;            ///< the final one
  std::int64_t d_model = 0;
  std::int64_t vocab_rows = 0;  ///< of the table, padding included
  std::int64_t vocab_size = 0;  ///< ids at or above are padding (<= vocab_rows)
  bool tied = false;            ///< the head is the table
  float embedding_scale = 1;    ///< residual = embedding_scale * the table's row
  float logit_scale = 1;        ///< logits = logit_scale * (the head's product)
};

struct DecoderConfig {
  EndsSpec ends;
  std::vector<Block> blocks;
};

}  // namespace krait
