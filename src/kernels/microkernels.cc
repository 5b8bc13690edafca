#include "kernels/microkernels.h"

#include "kernels/quantize/quantize_kernels.h"

namespace krait {
namespace {

constexpr Microkernels kReference{
    .isa = Isa::reference,
    .linear = nullptr,
    .norm = nullptr,
    .causal_conv1d = nullptr,
    .selective_scan = nullptr,
    .hadamard = nullptr,
    .quantize = &quantize_reference,
};
constexpr Microkernels kAvx2{
    .isa = Isa::avx2,
    .linear = nullptr,
    .norm = nullptr,
    .causal_conv1d = nullptr,
    .selective_scan = nullptr,
    .hadamard = nullptr,
    .quantize = &quantize_avx2,
};
constexpr Microkernels kAvx512{
    .isa = Isa::avx512_vnni,
    .linear = nullptr,
    .norm = nullptr,
    .causal_conv1d = nullptr,
    .selective_scan = nullptr,
    .hadamard = nullptr,
    .quantize = &quantize_avx512,
};

}  // namespace

const Microkernels& microkernels(Isa isa) {
  switch (isa) {
    case Isa::reference:
      return kReference;
    case Isa::avx2:
      return kAvx2;
    case Isa::avx512_vnni:
      return kAvx512;
  }
  return kReference;
}

}  // namespace krait
