// Microkernels of machine.h: one row each.
#pragma once

#include <cstddef>
#include <cstdint>

namespace krait {

enum class Isa;

struct MachineKernels {
  /// Reads `bytes` (a multiple of 1024) from `data`, 64-byte aligned, and returns their sum as
  /// 32-bit words.
  std::uint32_t (*read)(const void* data, std::size_t bytes);
  /// `rounds` rounds of int8_ops_per_round operations on registers. Returns the sum of
  /// all products modulo 2^32.
  std::uint32_t (*int8_dot)(std::int64_t rounds);
  std::int64_t int8_ops_per_round;
  /// The same with fp32 fused multiply-adds s <- s / 2 + 1 / 4; returns the sum of all s.
  float (*fp32_fma)(std::int64_t rounds);
  std::int64_t fp32_flops_per_round;
};

extern const MachineKernels machine_reference, machine_avx2, machine_avx_vnni, machine_avx512,
    machine_neon, machine_neon_dotprod, machine_neon_i8mm;

/// The table of a level that this build has.
const MachineKernels& machine_kernels(Isa isa);

}  // namespace krait
