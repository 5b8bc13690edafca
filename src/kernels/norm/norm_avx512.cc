// The microkernels of norm for AVX-512.
#include "kernels/vec_avx512.h"

#include "kernels/norm/norm_impl.h"

namespace krait {
const NormKernels norm_avx512 = kNormKernels;
}  // namespace krait
