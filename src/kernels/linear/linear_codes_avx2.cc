// Codes with AVX2 and FMA, without VNNI. vpmaddubsw multiplies unsigned by signed bytes and adds
// pairs with int16 saturation. |x| <= 128 and w with the sign of x, |w| <= 127, give pairs of at
// most 2 * 128 * 127 = 32512: never cut.
#include "kernels/linear/linear_codes_avx2.h"

namespace krait {
namespace {

/// Products with four bytes of one token, for 8 rows.
struct Maddubs {
  static constexpr std::int8_t kOffset = 0;  // flips bits of decoded weights
  static __m256i begin(const std::int32_t*) { return _mm256_setzero_si256(); }
  explicit Maddubs(__m256i x) : bytes(x), magnitude(_mm256_abs_epi8(x)) {}  // -128: 128 unsigned
  __m256i add(__m256i sum, __m256i tile) const {
    const __m256i pairs = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(tile, bytes));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
  __m256i bytes, magnitude;
};

}  // namespace

constinit const LinearCodesKernels linear_codes_avx2 = {.i8 = product_of_decoded<Avx2<Maddubs>>};

}  // namespace krait
