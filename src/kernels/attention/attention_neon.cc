// The microkernels of attention for NEON.
#include "kernels/vec_neon.h"

#include "kernels/attention/attention_impl.h"

namespace krait {
const AttentionKernels attention_neon = kAttentionKernels;
}  // namespace krait
