// The microkernels of hadamard in plain C++.
#include "kernels/vec_reference.h"

#include "kernels/hadamard/hadamard_impl.h"

namespace krait {
const HadamardKernels hadamard_reference = kHadamardKernels;
}  // namespace krait
