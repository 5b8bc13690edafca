// Mamba-1 (Gu and Dao 2023, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces"), as
// transformers' MambaForCausalLM and the original state-spaces checkpoints store it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "models/dummy.h"
#include "models/layout.h"
#include "models/mamba_mixer.h"
#include "models/model.h"

namespace krait {

struct Mamba1Config {
  MambaMixerShape mixer;
  std::int64_t layers = 0;
  std::int64_t vocab_rows = 0;  ///< V
  std::int64_t vocab_size = 0;  ///< ids at or above are padding
  float norm_eps = 1e-5f;
  bool tied_head = true;   ///< the head is the embedding table
  std::string embeddings;  ///< "backbone.embeddings" or the original "backbone.embedding"
};

/// Sizes from the tensors' shapes, from config.json only where no tensor tells. Errors: bad_data,
/// unsupported.
Mamba1Config read_mamba1_config(const Json& config, const TensorSource& tensors);

ModelLayout describe_mamba1(const Json& config, const TensorSource& tensors);
std::unique_ptr<Model> load_mamba1(Context& ctx, const Json& config, const TensorSource& tensors);
DummyShapes mamba1_shapes() noexcept;

}  // namespace krait
