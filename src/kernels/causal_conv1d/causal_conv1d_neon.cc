// The microkernels of causal_conv1d for NEON.
#include "kernels/vec_neon.h"

#include "kernels/causal_conv1d/causal_conv1d_impl.h"

namespace krait {
const CausalConv1dKernels causal_conv1d_neon = kCausalConv1dKernels;
}  // namespace krait
