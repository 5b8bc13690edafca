#include "kernels/microkernels.h"

#include "kernels/attention/attention_kernels.h"
#include "kernels/causal_conv1d/causal_conv1d_kernels.h"
#include "kernels/gated_norm/gated_norm_kernels.h"
#include "kernels/hadamard/hadamard_kernels.h"
#include "kernels/linear/linear4_kernels.h"
#include "kernels/linear/linear_kernels.h"
#include "kernels/nonlinearity/nonlinearity_kernels.h"
#include "kernels/norm/norm_kernels.h"
#include "kernels/quantize/quantize_kernels.h"
#include "kernels/selective_scan/selective_scan_kernels.h"
#include "kernels/ssd/ssd_kernels.h"

namespace krait {
namespace {

constexpr Microkernels kReference{
    .isa = Isa::reference,
    .linear = &linear_reference,
    .linear4 = &linear4_reference,
    .norm = &norm_reference,
    .causal_conv1d = &causal_conv1d_reference,
    .selective_scan = &selective_scan_reference,
    .ssd = &ssd_reference,
    .gated_norm = &gated_norm_reference,
    .hadamard = &hadamard_reference,
    .quantize = &quantize_reference,
    .nonlinearity = &nonlinearity_reference,
    .attention = &attention_reference,
};
constexpr Microkernels kAvx2{
    .isa = Isa::avx2,
    .linear = &linear_avx2,
    .linear4 = &linear4_avx2,
    .norm = &norm_avx2,
    .causal_conv1d = &causal_conv1d_avx2,
    .selective_scan = &selective_scan_avx2,
    .ssd = &ssd_avx2,
    .gated_norm = &gated_norm_avx2,
    .hadamard = &hadamard_avx2,
    .quantize = &quantize_avx2,
    .nonlinearity = &nonlinearity_avx2,
    .attention = &attention_avx2,
};
constexpr Microkernels kAvx512{
    .isa = Isa::avx512_vnni,
    .linear = &linear_avx512,
    .linear4 = &linear4_avx512,
    .norm = &norm_avx512,
    .causal_conv1d = &causal_conv1d_avx512,
    .selective_scan = &selective_scan_avx512,
    .ssd = &ssd_avx512,
    .gated_norm = &gated_norm_avx512,
    .hadamard = &hadamard_avx512,
    .quantize = &quantize_avx512,
    .nonlinearity = &nonlinearity_avx512,
    .attention = &attention_avx512,
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
