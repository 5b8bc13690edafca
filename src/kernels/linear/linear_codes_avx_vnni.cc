// Codes with AVX-VNNI: vpdpbusd multiplies weights + 128 with x as it is; sums start at -128 times
// the sum of x.
#include "kernels/linear/linear_codes_avx2.h"

namespace krait {
namespace {

/// Products with four bytes of one token, for 8 rows.
struct Dpbusd {
  static constexpr std::int8_t kOffset = -128;  // flips bits of decoded weights
  static __m256i begin(const std::int32_t* x_sum) { return _mm256_set1_epi32(16 * *x_sum); }
  explicit Dpbusd(__m256i x) : bytes(x) {}
  __m256i add(__m256i sum, __m256i tile) const { return _mm256_dpbusd_avx_epi32(sum, tile, bytes); }
  __m256i bytes;
};

}  // namespace

constinit const LinearCodesKernels linear_codes_avx_vnni = {.i8 = product_of_decoded<Avx2<Dpbusd>>};

}  // namespace krait
