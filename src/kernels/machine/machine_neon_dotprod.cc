// Armv8.2: four products of bytes and their sum in one sdot lane.
#include "kernels/machine/machine_neon.h"

namespace krait {
namespace {

std::uint32_t int8_dot(std::int64_t rounds) {
  return int8_chains(rounds,
                     [](int32x4_t sum, int8x16_t a, int8x16_t b) { return vdotq_s32(sum, a, b); });
}

}  // namespace

const MachineKernels machine_neon_dotprod = {
    .read = read,
    .int8_dot = int8_dot,
    .int8_ops_per_round = 2 * 16 * kChains,
    .fp32_fma = fp32_fma,
    .fp32_flops_per_round = 2 * 4 * kChains,
};

}  // namespace krait
