#include "models/fingerprint.h"

#include <fmt/format.h>

#include <algorithm>

#include "io/json.h"

namespace krait {
namespace {

constexpr std::size_t kPieces = 64, kPieceBytes = 8;

std::uint64_t hash_sample(const Tensor& tensor, std::uint64_t hash) {
  const char* data = static_cast<const char*>(tensor.view().data);
  const std::size_t size = tensor.bytes();
  if (size <= kPieces * kPieceBytes) return fnv1a64({data, size}, hash);
  const std::size_t step = (size - kPieceBytes) / (kPieces - 1);
  for (std::size_t i = 0; i < kPieces; ++i) hash = fnv1a64({data + i * step, kPieceBytes}, hash);
  return hash;
}

/// Compact text that any bytes in strings survive.
std::string text_of(const Json& json) {
  return json.dump(-1, ' ', true, Json::error_handler_t::replace);
}

}  // namespace

std::uint64_t fnv1a64(std::string_view bytes, std::uint64_t hash) noexcept {
  for (const char c : bytes) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
  }
  return hash;
}

std::string model_fingerprint(const Json& config, const ModelInfo& info,
                              const TensorSource& tensors) {
  std::uint64_t hash = fnv1a64(
      fmt::format("{} {} {} {}", info.architecture, info.d_model, info.n_layers, info.vocab_rows));
  const Json numerics = config.value("/quantization_config/krait/activations"_json_pointer, Json());
  const Json eps = config.value("layer_norm_epsilon", Json());
  hash = fnv1a64(numerics.dump() + eps.dump(), hash);
  for (const char* key :  // what no tensor shows
       {"n_groups", "time_step_limit", "ssm_cfg", "num_attention_heads", "num_key_value_heads",
        "rotary_pct", "rotary_emb_base", "rope_parameters", "layer_norm_eps", "rms_norm_eps",
        "use_parallel_residual", "num_experts_per_tok"}) {
    if (config.contains(key)) hash = fnv1a64(key + text_of(config.at(key)), hash);
  }
  for (const TensorInfo& tensor : tensors.list()) {
    hash = fnv1a64(fmt::format("{} {} {}", tensor.name, name_of(tensor.dtype), tensor.shape.str()),
                   hash);
    hash = hash_sample(tensors.get(tensor.name), hash);
    // Each piece maps the pages around it: those of weights that will be packed are not kept.
    if (!is_float(tensor.dtype)) tensors.release(tensor.name);
  }
  return fmt::format("{:016x}", hash);
}

}  // namespace krait
