// The microkernels of norm for NEON.
#include "kernels/vec_neon.h"

#include "kernels/norm/norm_impl.h"

namespace krait {
const NormKernels norm_neon = kNormKernels;
}  // namespace krait
