// AVX2 with FMA and F16C, without VNNI. vpmaddubsw multiplies unsigned by signed bytes and adds
// pairs with int16 saturation. |x| <= 128 and w with the sign of x, |w| <= 127, give pairs of at
// most 2 * 128 * 127 = 32512: never cut.
#include "kernels/linear/linear_avx2.h"

namespace krait {
namespace {

void prepare_i8(const std::int8_t* x, std::int64_t cols, std::uint8_t* out, std::int64_t padded) {
  __builtin_memcpy(out, x, static_cast<std::size_t>(cols));
  __builtin_memset(out + cols, 0, static_cast<std::size_t>(padded - cols));
}

/// Products with four bytes of one token, for 8 rows.
struct Maddubs {
  explicit Maddubs(__m256i x) : bytes(x), magnitude(_mm256_abs_epi8(x)) {}  // -128: 128 unsigned
  __m256i add(__m256i sum, __m256i tile) const {
    const __m256i pairs = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(tile, bytes));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
  static __m256i exact(__m256i sum, const std::int32_t*) { return sum; }
  __m256i bytes, magnitude;
};

// Up to 2 x 4 sums, the tile, x and the steps between.
constexpr TileProduct kTileProducts[] = {nullptr, tile_product<Maddubs, 1, 1>,
                                         tile_product<Maddubs, 2, 1>, tile_product<Maddubs, 3, 1>,
                                         tile_product<Maddubs, 4, 1>};

void product_i8(const I8Product& p) { product_in_blocks(p, kTileProducts); }

}  // namespace

constinit const LinearKernels linear_avx2 = linear_kernels(prepare_i8, product_i8);

}  // namespace krait
