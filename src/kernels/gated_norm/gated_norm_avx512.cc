// The microkernels of gated_norm for AVX-512.
#include "kernels/vec_avx512.h"

#include "kernels/gated_norm/gated_norm_impl.h"

namespace krait {
const GatedNormKernels gated_norm_avx512 = kGatedNormKernels;
}  // namespace krait
