// The microkernels of ssd for NEON.
#include "kernels/vec_neon.h"

#include "kernels/ssd/ssd_impl.h"

namespace krait {
const SsdKernels ssd_neon = kSsdKernels;
}  // namespace krait
