// The microkernels of selective_scan for NEON.
#include "kernels/vec_neon.h"

#include "kernels/selective_scan/selective_scan_impl.h"

namespace krait {
const SelectiveScanKernels selective_scan_neon = kSelectiveScanKernels;
}  // namespace krait
