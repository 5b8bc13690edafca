// The microkernels of ssd for AVX2, FMA and F16C.
#include "kernels/vec_avx2.h"

#include "kernels/ssd/ssd_impl.h"

namespace krait {
const SsdKernels ssd_avx2 = kSsdKernels;
}  // namespace krait
