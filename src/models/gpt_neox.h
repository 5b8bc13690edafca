// GPT-NeoX (Black et al. 2022, arXiv 2204.06745), the architecture of Pythia (Biderman et al. 2023,
// arXiv 2304.01373), as transformers' GPTNeoXForCausalLM stores it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "kernels/attention/attention.h"
#include "kernels/nonlinearity/nonlinearity.h"
#include "models/dummy.h"
#include "models/layout.h"
#include "models/model.h"

namespace krait {

struct GptNeoxConfig {
  AttentionShape attention;
  std::int64_t d_model = 0, d_ff = 0, layers = 0, vocab_rows = 0;
  std::int64_t vocab_size = 0;   ///< ids at or above are padding
  std::int64_t rotary_dims = 0;  ///< of head_dim, even; the others carry no position
  double rotary_base = 10000;
  float norm_eps = 1e-5f;
  Gelu gelu = Gelu::erf;
  bool parallel_residual = true;  ///< feed-forward and attention read the same residual
  bool attention_bias = true;
  bool tied_head = false;
  std::string head;  ///< "embed_out", or "lm_head"
};

/// Buffers that old checkpoints hold beside their weights: masks and inverse frequencies.
inline constexpr std::string_view kGptNeoxBuffers[] = {".attention.bias", ".attention.masked_bias",
                                                       ".attention.rotary_emb.inv_freq"};

/// Sizes from the tensors' shapes, from config.json only where no tensor tells. Errors: bad_data,
/// unsupported.
GptNeoxConfig read_gpt_neox_config(const Json& config, const TensorSource& tensors);

ModelLayout describe_gpt_neox(const Json& config, const TensorSource& tensors);
std::unique_ptr<Model> load_gpt_neox(Context& ctx, const Json& config, const TensorSource& tensors);
DummyShapes gpt_neox_shapes() noexcept;

}  // namespace krait
