#include "krait/version.h"

namespace krait {

const char* version() noexcept { return KRAIT_VERSION; }

}  // namespace krait
