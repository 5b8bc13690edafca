#pragma once

#include "krait/export.h"

namespace krait {

/// "major.minor.patch" of the library that is linked.
KRAIT_API const char* version() noexcept;

}  // namespace krait
