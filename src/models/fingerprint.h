// What tells models apart: a text of all that the forward pass depends on, and FNV-1a (Fowler,
// Noll, Vo), 64 bits, which detects damage and mix-ups, not malice.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "io/tensor_source.h"
#include "models/decoder_config.h"
#include "models/layout.h"

namespace krait {

std::uint64_t fnv1a64(std::string_view bytes, std::uint64_t hash = 0xcbf29ce484222325ull) noexcept;

/// Every member that differs from its default: fields.h.
std::string text_of(const DecoderConfig& config);
std::string text_of(const std::map<std::string, ActivationNumerics>& numerics);

/// Tells models apart whose states must not be mixed: 16 hex digits over the texts of config and
/// numerics, the name, dtype and shape of each tensor, and a sample of its bytes (all of a small
/// tensor, 64 pieces of 8 bytes of a large one).
std::string model_fingerprint(const DecoderConfig& config,
                              const std::map<std::string, ActivationNumerics>& numerics,
                              const TensorSource& tensors);

}  // namespace krait
