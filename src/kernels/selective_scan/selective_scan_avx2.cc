// The microkernels of selective_scan for AVX2, FMA and F16C.
#include "kernels/vec_avx2.h"

#include "kernels/selective_scan/selective_scan_impl.h"

namespace krait {
const SelectiveScanKernels selective_scan_avx2 = kSelectiveScanKernels;
}  // namespace krait
