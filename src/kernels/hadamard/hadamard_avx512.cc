// The microkernels of hadamard for AVX-512.
#include "kernels/vec_avx512.h"

#include "kernels/hadamard/hadamard_impl.h"

namespace krait {
const HadamardKernels hadamard_avx512 = kHadamardKernels;
}  // namespace krait
