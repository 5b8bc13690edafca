// The microkernels of nonlinearity in plain C++.
#include "kernels/vec_reference.h"

#include "kernels/nonlinearity/nonlinearity_impl.h"

namespace krait {
const NonlinearityKernels nonlinearity_reference = kNonlinearityKernels;
}  // namespace krait
