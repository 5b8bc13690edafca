// The microkernels of causal_conv1d for AVX-512.
#include "kernels/vec_avx512.h"

#include "kernels/causal_conv1d/causal_conv1d_impl.h"

namespace krait {
const CausalConv1dKernels causal_conv1d_avx512 = kCausalConv1dKernels;
}  // namespace krait
