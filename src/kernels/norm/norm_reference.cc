// The microkernels of norm in plain C++.
#include "kernels/vec_reference.h"

#include "kernels/norm/norm_impl.h"

namespace krait {
const NormKernels norm_reference = kNormKernels;
}  // namespace krait
