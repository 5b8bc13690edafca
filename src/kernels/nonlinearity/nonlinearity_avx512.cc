// The microkernels of nonlinearity for AVX-512.
#include "kernels/vec_avx512.h"

#include "kernels/nonlinearity/nonlinearity_impl.h"

namespace krait {
const NonlinearityKernels nonlinearity_avx512 = kNonlinearityKernels;
}  // namespace krait
