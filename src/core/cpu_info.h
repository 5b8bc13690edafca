// What this CPU can do and which instruction set the kernels use.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace krait {

/// Ordered: a later level can do all that an earlier one of the same machine can.
enum class Isa { reference, avx2, avx512_vnni };

std::string_view name_of(Isa isa) noexcept;  ///< "reference", "avx2", "avx512_vnni"
bool cpu_supports(Isa isa) noexcept;
std::span<const Isa> all_isas() noexcept;

/// The best level of this CPU, or the one that the environment variable KRAIT_ISA names.
/// Throws invalid_argument for an unknown name or a level that this CPU lacks, with the choices.
Isa select_isa();

std::string cpu_name();  ///< "AMD EPYC ..." from /proc/cpuinfo

}  // namespace krait
