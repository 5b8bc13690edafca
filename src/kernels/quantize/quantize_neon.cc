// The microkernels of quantize for NEON.
#include "kernels/vec_neon.h"

#include "kernels/quantize/quantize_impl.h"

namespace krait {
const QuantizeKernels quantize_neon = kQuantizeKernels;
}  // namespace krait
