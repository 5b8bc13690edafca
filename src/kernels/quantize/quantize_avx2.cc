// The microkernels of quantize for AVX2, FMA and F16C.
#include "kernels/vec_avx2.h"

#include "kernels/quantize/quantize_impl.h"

namespace krait {
const QuantizeKernels quantize_avx2 = kQuantizeKernels;
}  // namespace krait
