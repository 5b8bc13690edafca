#include "kernels/microkernels.h"

#include "kernels/attention/attention_kernels.h"
#include "kernels/causal_conv1d/causal_conv1d_kernels.h"
#include "kernels/gated_norm/gated_norm_kernels.h"
#include "kernels/hadamard/hadamard_kernels.h"
#include "kernels/linear/linear4_kernels.h"
#include "kernels/linear/linear_codes_kernels.h"
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
    .linear_codes = &linear_codes_reference,
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
/// A level that differs from the one below in the products of integers only.
[[maybe_unused]] constexpr Microkernels with_products(const Microkernels& below, Isa isa,
                                                      const LinearKernels& linear,
                                                      const Linear4Kernels& linear4,
                                                      const LinearCodesKernels& linear_codes) {
  Microkernels result = below;
  result.isa = isa;
  result.linear = &linear;
  result.linear4 = &linear4;
  result.linear_codes = &linear_codes;
  return result;
}

#if defined(__x86_64__)

constexpr Microkernels kAvx2{
    .isa = Isa::avx2,
    .linear = &linear_avx2,
    .linear4 = &linear4_avx2,
    .linear_codes = &linear_codes_avx2,
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
constexpr Microkernels kAvxVnni =
    with_products(kAvx2, Isa::avx_vnni, linear_avx_vnni, linear4_avx_vnni, linear_codes_avx_vnni);
constexpr Microkernels kAvx512{
    .isa = Isa::avx512_vnni,
    .linear = &linear_avx512,
    .linear4 = &linear4_avx512,
    .linear_codes = &linear_codes_avx512,
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

#elif defined(__aarch64__)

constexpr Microkernels kNeon{
    .isa = Isa::neon,
    .linear = &linear_neon,
    .linear4 = &linear4_neon,
    .linear_codes = &linear_codes_neon,
    .norm = &norm_neon,
    .causal_conv1d = &causal_conv1d_neon,
    .selective_scan = &selective_scan_neon,
    .ssd = &ssd_neon,
    .gated_norm = &gated_norm_neon,
    .hadamard = &hadamard_neon,
    .quantize = &quantize_neon,
    .nonlinearity = &nonlinearity_neon,
    .attention = &attention_neon,
};
constexpr Microkernels kNeonDotprod = with_products(
    kNeon, Isa::neon_dotprod, linear_neon_dotprod, linear4_neon_dotprod, linear_codes_neon_dotprod);
constexpr Microkernels kNeonI8mm = with_products(kNeon, Isa::neon_i8mm, linear_neon_i8mm,
                                                 linear4_neon_i8mm, linear_codes_neon_i8mm);

#endif

}  // namespace

const Microkernels& microkernels(Isa isa) {
  switch (isa) {
#if defined(__x86_64__)
    case Isa::avx2:
      return kAvx2;
    case Isa::avx_vnni:
      return kAvxVnni;
    case Isa::avx512_vnni:
      return kAvx512;
#elif defined(__aarch64__)
    case Isa::neon:
      return kNeon;
    case Isa::neon_dotprod:
      return kNeonDotprod;
    case Isa::neon_i8mm:
      return kNeonI8mm;
#endif
    default:
      return kReference;
  }
}

}  // namespace krait
