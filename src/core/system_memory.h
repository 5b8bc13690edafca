// How much memory there is.
#pragma once

#include <cstddef>

namespace krait {

/// Of the machine, or of the control group that this process may not exceed (v2), if that is less.
std::size_t system_memory_bytes() noexcept;

}  // namespace krait
