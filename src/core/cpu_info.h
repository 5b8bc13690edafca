// What this CPU can do and which instruction set the kernels use.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace krait {

/// Levels of x86-64 and then of AArch64, each faster than those before it.
enum class Isa { reference, avx2, avx_vnni, avx512_vnni, neon, neon_dotprod, neon_i8mm };

std::string_view name_of(Isa isa) noexcept;  ///< "avx2": as the enumerator
bool cpu_supports(Isa isa) noexcept;
std::span<const Isa> all_isas() noexcept;  ///< what this build has code for, the fastest last

/// The best level of this CPU, or the one that the environment variable KRAIT_ISA names.
/// Throws invalid_argument for an unknown name or a level that this CPU lacks, with the choices.
Isa select_isa();

std::string cpu_name();  ///< "AMD EPYC ..." from /proc/cpuinfo

}  // namespace krait
