// The microkernels of causal_conv1d in plain C++.
#include "kernels/vec_reference.h"

#include "kernels/causal_conv1d/causal_conv1d_impl.h"

namespace krait {
const CausalConv1dKernels causal_conv1d_reference = kCausalConv1dKernels;
}  // namespace krait
