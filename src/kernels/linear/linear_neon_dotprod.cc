// NEON with the dot product of Armv8.2.
#include "kernels/linear/dotprod_neon.h"

namespace krait {
namespace {

constexpr std::int64_t kTokens =
    4;  // 4 x 4 sums, 4 x and the tile: two sdot for each load and more
constexpr TileProduct kTileProducts[kTokens + 1] = {nullptr, dot_product<1>, dot_product<2>,
                                                    dot_product<3>, dot_product<4>};

void product_i8(const I8Product& p) { product_in_blocks(p, kTileProducts, kTokens); }

}  // namespace

constinit const LinearKernels linear_neon_dotprod = linear_kernels(product_i8);

}  // namespace krait
