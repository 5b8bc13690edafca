// Names of error codes, for files and machines.
#pragma once

#include "krait/error.h"

namespace krait {

/// "invalid_argument", "not_found", ...: as in the enumeration.
const char* name_of(ErrorCode code) noexcept;

}  // namespace krait
