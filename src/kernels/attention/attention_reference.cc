// The microkernels of attention in plain C++.
#include "kernels/vec_reference.h"

#include "kernels/attention/attention_impl.h"

namespace krait {
const AttentionKernels attention_reference = kAttentionKernels;
}  // namespace krait
