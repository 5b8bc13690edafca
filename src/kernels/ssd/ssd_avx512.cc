// The microkernels of ssd for AVX-512.
#include "kernels/vec_avx512.h"

#include "kernels/ssd/ssd_impl.h"

namespace krait {
const SsdKernels ssd_avx512 = kSsdKernels;
}  // namespace krait
