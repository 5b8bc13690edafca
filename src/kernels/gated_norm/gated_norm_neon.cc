// The microkernels of gated_norm for NEON.
#include "kernels/vec_neon.h"

#include "kernels/gated_norm/gated_norm_impl.h"

namespace krait {
const GatedNormKernels gated_norm_neon = kGatedNormKernels;
}  // namespace krait
