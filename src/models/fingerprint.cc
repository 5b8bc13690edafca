#include "models/fingerprint.h"

#include <fmt/format.h>

#include "models/fields.h"

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

}  // namespace

std::uint64_t fnv1a64(std::string_view bytes, std::uint64_t hash) noexcept {
  for (const char c : bytes) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
  }
  return hash;
}

std::string text_of(const DecoderConfig& config) { return text_of_difference(config, {}); }

std::string text_of(const std::map<std::string, ActivationNumerics>& numerics) {
  std::string text;
  for (const auto& [role, value] : numerics) text += role + text_of_difference(value, {});
  return text;
}

std::string model_fingerprint(const DecoderConfig& config,
                              const std::map<std::string, ActivationNumerics>& numerics,
                              const TensorSource& tensors) {
  std::uint64_t hash = fnv1a64(text_of(config));
  hash = fnv1a64(text_of(numerics), hash);
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
