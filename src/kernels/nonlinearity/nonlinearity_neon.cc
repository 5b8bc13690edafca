// The microkernels of nonlinearity for NEON.
#include "kernels/vec_neon.h"

#include "kernels/nonlinearity/nonlinearity_impl.h"

namespace krait {
const NonlinearityKernels nonlinearity_neon = kNonlinearityKernels;
}  // namespace krait
