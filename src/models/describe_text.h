// Words for how values are held, for people.
#pragma once

#include <string>

#include "models/layout.h"

namespace krait {

/// "float32", "float16", "int8 dynamic per token, magnitudes above 6 float, Hadamard of 128".
std::string numerics_text(const ActivationNumerics& numerics);

}  // namespace krait
