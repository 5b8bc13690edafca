// The microkernels of norm for AVX2, FMA and F16C.
#include "kernels/vec_avx2.h"

#include "kernels/norm/norm_impl.h"

namespace krait {
const NormKernels norm_avx2 = kNormKernels;
}  // namespace krait
