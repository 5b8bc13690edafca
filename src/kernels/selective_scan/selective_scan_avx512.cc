// The microkernels of selective_scan for AVX-512.
#include "kernels/vec_avx512.h"

#include "kernels/selective_scan/selective_scan_impl.h"

namespace krait {
const SelectiveScanKernels selective_scan_avx512 = kSelectiveScanKernels;
}  // namespace krait
