// The microkernels of quantize for AVX-512.
#include "kernels/vec_avx512.h"

#include "kernels/quantize/quantize_impl.h"

namespace krait {
const QuantizeKernels quantize_avx512 = kQuantizeKernels;
}  // namespace krait
