// 4-bit weights with AVX2 and FMA, without VNNI. vpmaddubsw multiplies weights as q + 8 in 0..15
// with x as it is and adds pairs in int16: at most 2 * 15 * 128 = 3840 in magnitude, so that eight
// of them fit before they are widened.
#include "kernels/linear/linear4_avx2.h"

namespace krait {
namespace {

struct Maddubs {
  static constexpr std::int64_t kLines = 4;
  static __m256i begin(__m256i) { return _mm256_setzero_si256(); }
  static __m256i add(__m256i pairs, __m256i w, __m256i x) {
    return _mm256_add_epi16(pairs, _mm256_maddubs_epi16(w, x));
  }
  static __m256i end(__m256i sum, __m256i pairs) {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
};

template <typename S>
constexpr Variant<I4Product> kProducts[] = {{nullptr, 2},
                                            {tile_product<Maddubs, S, 1, 2>, 2},
                                            {tile_product<Maddubs, S, 2, 2>, 2},
                                            {tile_product<Maddubs, S, 3, 1>, 1},
                                            {tile_product<Maddubs, S, 4, 1>, 1}};

void product_i8(const I4Product& p) {
  if (p.w.scale_is_f32) {
    product(p, kProducts<F32Scale>);
  } else {
    product(p, kProducts<BF16Scale>);
  }
}

}  // namespace

constinit const Linear4Kernels linear4_avx2 = linear4_kernels(product_i8);

}  // namespace krait
