// The microkernels of ssd in plain C++.
#include "kernels/vec_reference.h"

#include "kernels/ssd/ssd_impl.h"

namespace krait {
const SsdKernels ssd_reference = kSsdKernels;
}  // namespace krait
