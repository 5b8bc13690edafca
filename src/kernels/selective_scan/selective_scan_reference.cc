// The microkernels of selective_scan in plain C++.
#include "kernels/vec_reference.h"

#include "kernels/selective_scan/selective_scan_impl.h"

namespace krait {
const SelectiveScanKernels selective_scan_reference = kSelectiveScanKernels;
}  // namespace krait
