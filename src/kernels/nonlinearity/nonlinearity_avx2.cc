// The microkernels of nonlinearity for AVX2, FMA and F16C.
#include "kernels/vec_avx2.h"

#include "kernels/nonlinearity/nonlinearity_impl.h"

namespace krait {
const NonlinearityKernels nonlinearity_avx2 = kNonlinearityKernels;
}  // namespace krait
