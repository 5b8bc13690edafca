// The microkernels of attention for AVX2, FMA and F16C.
#include "kernels/vec_avx2.h"

#include "kernels/attention/attention_impl.h"

namespace krait {
const AttentionKernels attention_avx2 = kAttentionKernels;
}  // namespace krait
