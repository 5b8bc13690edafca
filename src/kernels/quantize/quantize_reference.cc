// The microkernels of quantize in plain C++.
#include "kernels/vec_reference.h"

#include "kernels/quantize/quantize_impl.h"

namespace krait {
const QuantizeKernels quantize_reference = kQuantizeKernels;
}  // namespace krait
