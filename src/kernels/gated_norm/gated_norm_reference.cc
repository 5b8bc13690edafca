// The microkernels of gated_norm in plain C++.
#include "kernels/vec_reference.h"

#include "kernels/gated_norm/gated_norm_impl.h"

namespace krait {
const GatedNormKernels gated_norm_reference = kGatedNormKernels;
}  // namespace krait
