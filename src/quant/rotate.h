// Hadamard rotations: y = W x = (W H^T)(H x). The right factor is applied by the forward pass, the
// left one here, to the weights (QuaRot, Ashkboos et al. 2024; Quamba, Chiang et al. 2024).
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>

#include "models/layout.h"
#include "quant/recipe.h"

namespace krait {

/// Block of the transform by activation role, for a fitted recipe; identities (block 1)
/// are left out. Errors: invalid_argument for sites that cannot be rotated and sizes that do not
/// exist.
std::map<std::string, std::int64_t> rotation_blocks(const Recipe& recipe,
                                                    const ModelLayout& layout);

/// row <- row H^T in double precision on consecutive blocks; rounded to f32 once.
void rotate_row(std::span<float> row, std::int64_t block);

}  // namespace krait
