// 4-bit weights with NEON and the dot product of Armv8.2.
#include "kernels/linear/dotprod4_neon.h"

namespace krait {
namespace {

template <typename S>
constexpr Variant<I4Product> kProducts[] = {nullptr, tile_product<Dot, S, 1>,
                                            tile_product<Dot, S, 2>, tile_product<Dot, S, 3>,
                                            tile_product<Dot, S, 4>};

void product_i8(const I4Product& p) {
  if (p.w.scale_is_f32) {
    product(p, kProducts<F32Scale>);
  } else {
    product(p, kProducts<BF16Scale>);
  }
}

}  // namespace

constinit const Linear4Kernels linear4_neon_dotprod = linear4_kernels(product_i8);

}  // namespace krait
