// Armv8.0: bytes are multiplied by smull and smlal and widened by sadalp, as int8 products must be.
#include "kernels/machine/machine_neon.h"

namespace krait {
namespace {

std::uint32_t int8_dot(std::int64_t rounds) {
  return int8_chains(rounds, [](int32x4_t sum, int8x16_t a, int8x16_t b) {
    return vpadalq_s16(sum, vmlal_high_s8(vmull_s8(vget_low_s8(a), vget_low_s8(b)), a, b));
  });
}

}  // namespace

const MachineKernels machine_neon = {
    .read = read,
    .int8_dot = int8_dot,
    .int8_ops_per_round = 2 * 16 * kChains,
    .fp32_fma = fp32_fma,
    .fp32_flops_per_round = 2 * 4 * kChains,
};

}  // namespace krait
