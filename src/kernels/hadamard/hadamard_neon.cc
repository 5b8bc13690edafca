// The microkernels of hadamard for NEON.
#include "kernels/vec_neon.h"

#include "kernels/hadamard/hadamard_impl.h"

namespace krait {
const HadamardKernels hadamard_neon = kHadamardKernels;
}  // namespace krait
