// Codes with NEON and the dot product of Armv8.2.
#include "kernels/linear/linear_codes_dotprod_neon.h"

namespace krait {
namespace {

struct Dot {
  static constexpr int kTokens = 4;  // 4 x 4 sums, 4 x and two tiles
  template <int C>
  static void multiply(const GroupBlock& b) {
    dot_product<C>(b);
  }
};

}  // namespace

constinit const LinearCodesKernels linear_codes_neon_dotprod = {.i8 =
                                                                    product_of_decoded<Neon<Dot>>};

}  // namespace krait
