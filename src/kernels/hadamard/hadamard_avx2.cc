// The microkernels of hadamard for AVX2, FMA and F16C.
#include "kernels/vec_avx2.h"

#include "kernels/hadamard/hadamard_impl.h"

namespace krait {
const HadamardKernels hadamard_avx2 = kHadamardKernels;
}  // namespace krait
