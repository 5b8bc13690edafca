// Recipes by role with a list of steps: what quantized checkpoints keep.
#pragma once

#include <string>

#include "io/json.h"

namespace krait {

/// A recipe's "steps" as keys of their own. Errors: invalid_argument for steps that do not exist,
/// have unknown keys, come twice, or come too late, and for a "gptq" that is none of the two kinds.
Json keys_of_steps(const Json& recipe, const std::string& where);

}  // namespace krait
