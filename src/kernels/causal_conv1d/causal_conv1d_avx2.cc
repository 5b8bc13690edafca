// The microkernels of causal_conv1d for AVX2, FMA and F16C.
#include "kernels/vec_avx2.h"

#include "kernels/causal_conv1d/causal_conv1d_impl.h"

namespace krait {
const CausalConv1dKernels causal_conv1d_avx2 = kCausalConv1dKernels;
}  // namespace krait
