#include "core/cpu_info.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <array>
#include <cstdlib>
#include <fstream>

#include "core/check.h"

namespace krait {
namespace {

constexpr std::array kIsas{Isa::reference, Isa::avx2, Isa::avx512_vnni};

#if defined(__x86_64__)
/// CPUID leaf 1; clang 14 does not know the name in __builtin_cpu_supports.
bool has_f16c() noexcept {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}
#endif

}  // namespace

std::string_view name_of(Isa isa) noexcept {
  switch (isa) {
    case Isa::reference:
      return "reference";
    case Isa::avx2:
      return "avx2";
    case Isa::avx512_vnni:
      return "avx512_vnni";
  }
  return "?";
}

std::span<const Isa> all_isas() noexcept { return kIsas; }

bool cpu_supports(Isa isa) noexcept {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
  switch (isa) {
    case Isa::reference:
      return true;
    case Isa::avx2:
      return avx2;
    case Isa::avx512_vnni:
      return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
             __builtin_cpu_supports("avx512vnni");
  }
  return false;
#else
  return isa == Isa::reference;
#endif
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
