#pragma once

namespace krait {

/// "major.minor.patch" of the library that is linked.
const char* version() noexcept;

}  // namespace krait
