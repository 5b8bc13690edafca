#include "core/cpu_info.h"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

#include <array>
#include <cstdlib>
#include <fstream>

#include "core/check.h"

namespace krait {
namespace {

#if defined(__x86_64__)

constexpr std::array kIsas{Isa::reference, Isa::avx2, Isa::avx_vnni, Isa::avx512_vnni};

// CPUID leaf 1 and leaf 7, subleaf 1: clang 14 does not know these names in __builtin_cpu_supports.
bool has_f16c() noexcept {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}
bool has_avx_vnni() noexcept {
  constexpr unsigned bit_avx_vnni = 1u << 4;
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0 && (eax & bit_avx_vnni) != 0;
}

#elif defined(__aarch64__)

constexpr std::array kIsas{Isa::reference, Isa::neon, Isa::neon_dotprod, Isa::neon_i8mm};

// Bits of AT_HWCAP and AT_HWCAP2, as the kernel documents them (elf_hwcaps.rst).
bool has_dotprod() noexcept { return (::getauxval(AT_HWCAP) & (1ul << 20)) != 0; }
bool has_i8mm() noexcept { return (::getauxval(AT_HWCAP2) & (1ul << 13)) != 0; }

#else

constexpr std::array kIsas{Isa::reference};

#endif

}  // namespace

std::string_view name_of(Isa isa) noexcept {
  switch (isa) {
    case Isa::reference:
      return "reference";
    case Isa::avx2:
      return "avx2";
    case Isa::avx_vnni:
      return "avx_vnni";
    case Isa::avx512_vnni:
      return "avx512_vnni";
    case Isa::neon:
      return "neon";
    case Isa::neon_dotprod:
      return "neon_dotprod";
    case Isa::neon_i8mm:
      return "neon_i8mm";
  }
  return "?";
}

std::span<const Isa> all_isas() noexcept { return kIsas; }

bool cpu_supports(Isa isa) noexcept {
  if (isa == Isa::reference) return true;
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !has_f16c())
    return false;
  if (isa == Isa::avx2) return true;
  if (isa == Isa::avx_vnni) return has_avx_vnni();
  if (isa == Isa::avx512_vnni) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vnni");
  }
#elif defined(__aarch64__)
  if (isa == Isa::neon) return true;  // part of AArch64
  if (isa == Isa::neon_dotprod) return has_dotprod();
  if (isa == Isa::neon_i8mm) return has_dotprod() && has_i8mm();
#endif
  return false;
}

Isa select_isa() {
  std::string choices;
  Isa best = Isa::reference;
  for (Isa isa : kIsas) {
    if (!cpu_supports(isa)) continue;
    best = isa;
    choices += (choices.empty() ? "" : ", ") + std::string(name_of(isa));
  }
  const char* wanted = std::getenv("KRAIT_ISA");
  if (!wanted || !*wanted) return best;
  for (Isa isa : kIsas) {
    if (name_of(isa) != wanted) continue;
    check(cpu_supports(isa), ErrorCode::invalid_argument,
          "KRAIT_ISA={} is not supported by this CPU, which can do: {}", wanted, choices);
    return isa;
  }
  fail(ErrorCode::invalid_argument,
       "KRAIT_ISA={} is no instruction set known here; this CPU can do: {}", wanted, choices);
}

std::string cpu_name() {
  std::ifstream info("/proc/cpuinfo");
  std::string line;
  while (std::getline(info, line)) {
    if (line.starts_with("model name")) {
      const auto colon = line.find(": ");
      if (colon != std::string::npos) return line.substr(colon + 2);
    }
  }
  return "unknown CPU";
}

}  // namespace krait
