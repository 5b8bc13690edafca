// FNV-1a (Fowler, Noll, Vo), 64 bits: detects damage and mix-ups, not malice.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "io/json_fwd.h"
#include "io/tensor_source.h"
#include "models/layout.h"

namespace krait {

std::uint64_t fnv1a64(std::string_view bytes, std::uint64_t hash = 0xcbf29ce484222325ull) noexcept;

/// Tells models apart whose states must not be mixed: 16 hex digits over the sizes, the numerics,
/// the name, dtype and shape of each tensor, and a sample of its bytes (all of a small tensor, 64
/// pieces of 8 bytes of a large one).
std::string model_fingerprint(const Json& config, const ModelInfo& info,
                              const TensorSource& tensors);

}  // namespace krait
