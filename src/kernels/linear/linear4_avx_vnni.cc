// 4-bit weights with AVX-VNNI: vpdpbusd multiplies weights as q + 8 in 0..15 with x as it is and
// adds four products to int32.
#include "kernels/linear/linear4_avx2.h"

namespace krait {
namespace {

struct Dpbusd {
  static constexpr std::int64_t kLines = std::int64_t{1} << 32;  // all
  static __m256i begin(__m256i sum) { return sum; }
  static __m256i add(__m256i sum, __m256i w, __m256i x) {
    return _mm256_dpbusd_avx_epi32(sum, w, x);
  }
  static __m256i end(__m256i, __m256i sum) { return sum; }
};

template <typename S>
constexpr Variant<I4Product> kProducts[] = {{nullptr, 2},
                                            {tile_product<Dpbusd, S, 1, 2>, 2},
                                            {tile_product<Dpbusd, S, 2, 2>, 2},
                                            {tile_product<Dpbusd, S, 3, 1>, 1},
                                            {tile_product<Dpbusd, S, 4, 1>, 1}};

void product_i8(const I4Product& p) {
  if (p.w.scale_is_f32) {
    product(p, kProducts<F32Scale>);
  } else {
    product(p, kProducts<BF16Scale>);
  }
}

}  // namespace

constinit const Linear4Kernels linear4_avx_vnni = linear4_kernels(product_i8);

}  // namespace krait
