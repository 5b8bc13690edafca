// AVX-VNNI: vpdpbusd multiplies unsigned by signed bytes and adds four products to int32. x is
// prepared as x + 128, and 128 times the sum of the row's weights is taken off at the end.
#include "kernels/linear/linear_avx2.h"

namespace krait {
namespace {

void prepare_i8(const std::int8_t* x, std::int64_t cols, std::uint8_t* out, std::int64_t padded) {
  for (std::int64_t k = 0; k < cols; ++k) out[k] = static_cast<std::uint8_t>(x[k] ^ 0x80);
  __builtin_memset(out + cols, 0x80, static_cast<std::size_t>(padded - cols));
}

/// Products with four bytes of one token, for 8 rows.
struct Dpbusd {
  explicit Dpbusd(__m256i x) : bytes(x) {}
  __m256i add(__m256i sum, __m256i tile) const { return _mm256_dpbusd_avx_epi32(sum, bytes, tile); }
  static __m256i exact(__m256i sum, const std::int32_t* row_sum) {
    return _mm256_sub_epi32(sum, _mm256_slli_epi32(load(row_sum), 7));
  }
  __m256i bytes;
};

// Up to 2 x 6 sums, the tile and x. Few tokens leave the multipliers waiting for each other but for
// several sums of each.
constexpr TileProduct kTileProducts[] = {nullptr,
                                         tile_product<Dpbusd, 1, 4>,
                                         tile_product<Dpbusd, 2, 2>,
                                         tile_product<Dpbusd, 3, 2>,
                                         tile_product<Dpbusd, 4, 1>,
                                         tile_product<Dpbusd, 5, 1>,
                                         tile_product<Dpbusd, 6, 1>};

void product_i8(const I8Product& p) { product_in_blocks(p, kTileProducts); }

}  // namespace

constinit const LinearKernels linear_avx_vnni = linear_kernels(prepare_i8, product_i8);

}  // namespace krait
