// i8mm: products of 2 x 8 by 8 x 2 bytes.
#include "kernels/machine/machine_neon.h"

namespace krait {
namespace {

std::uint32_t int8_dot(std::int64_t rounds) {
  return int8_chains(rounds,
                     [](int32x4_t sum, int8x16_t a, int8x16_t b) { return vmmlaq_s32(sum, a, b); });
}

}  // namespace

const MachineKernels machine_neon_i8mm = {
    .read = read,
    .int8_dot = int8_dot,
    .int8_ops_per_round = 2 * 32 * kChains,
    .fp32_fma = fp32_fma,
    .fp32_flops_per_round = 2 * 4 * kChains,
};

}  // namespace krait
