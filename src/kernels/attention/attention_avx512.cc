// The microkernels of attention for AVX-512.
#include "kernels/vec_avx512.h"

#include "kernels/attention/attention_impl.h"

namespace krait {
const AttentionKernels attention_avx512 = kAttentionKernels;
}  // namespace krait
