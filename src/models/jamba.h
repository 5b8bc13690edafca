// Jamba (Lieber et al. 2024, arXiv 2403.19887): Mamba and attention layers, each followed by a
// dense feed-forward block or a mixture of experts, as transformers' JambaForCausalLM stores it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "kernels/attention/attention.h"
#include "models/dummy.h"
#include "models/layout.h"
#include "models/mamba_mixer.h"
#include "models/model.h"

namespace krait {

struct JambaConfig {
  AttentionShape attention;
  MambaMixerShape mixer;
  std::int64_t d_model = 0, d_ff = 0, layers = 0, vocab_rows = 0;
  std::int64_t vocab_size = 0;  ///< ids at or above are padding
  std::int64_t attention_period = 8, attention_offset = 4;
  std::int64_t expert_period = 2, expert_offset = 1;
  std::int64_t experts = 16, experts_per_token = 2;
  float norm_eps = 1e-6f;
  bool tied_head = false;
  std::string feed_forward;  ///< "feed_forward.", or "moe." in old checkpoints

  bool is_attention(std::int64_t layer) const {
    return layer % attention_period == attention_offset;
  }
  /// Of this layer's feed-forward: 1 is a dense block.
  std::int64_t experts_of(std::int64_t layer) const {
    return layer % expert_period == expert_offset ? experts : 1;
  }
};

/// Sizes from the tensors' shapes, from config.json only where no tensor tells. Errors: bad_data,
/// unsupported.
JambaConfig read_jamba_config(const Json& config, const TensorSource& tensors);

ModelLayout describe_jamba(const Json& config, const TensorSource& tensors);
std::unique_ptr<Model> load_jamba(Context& ctx, const Json& config, const TensorSource& tensors);
DummyShapes jamba_shapes() noexcept;

}  // namespace krait
