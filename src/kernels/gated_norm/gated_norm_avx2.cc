// The microkernels of gated_norm for AVX2, FMA and F16C.
#include "kernels/vec_avx2.h"

#include "kernels/gated_norm/gated_norm_impl.h"

namespace krait {
const GatedNormKernels gated_norm_avx2 = kGatedNormKernels;
}  // namespace krait
