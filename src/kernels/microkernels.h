// One table of function pointers per instruction set. Each operation's folder defines its own
// struct of microkernels (<op>_kernels.h) and one constant of it per instruction set; a level that
// has no variant of its own names the table of the level below, visibly, in microkernels.cc and
// nowhere else.
#pragma once

#include "core/cpu_info.h"

namespace krait {

struct LinearKernels;
struct Linear4Kernels;
struct LinearCodesKernels;
struct NormKernels;
struct CausalConv1dKernels;
struct SelectiveScanKernels;
struct SsdKernels;
struct GatedNormKernels;
struct HadamardKernels;
struct QuantizeKernels;
struct NonlinearityKernels;
struct AttentionKernels;

struct Microkernels {
  Isa isa;
  const LinearKernels* linear;
  const Linear4Kernels* linear4;
  const LinearCodesKernels* linear_codes;
  const NormKernels* norm;
  const CausalConv1dKernels* causal_conv1d;
  const SelectiveScanKernels* selective_scan;
  const SsdKernels* ssd;
  const GatedNormKernels* gated_norm;
  const HadamardKernels* hadamard;
  const QuantizeKernels* quantize;
  const NonlinearityKernels* nonlinearity;
  const AttentionKernels* attention;
};

/// The table of a level that this CPU supports (see select_isa()).
const Microkernels& microkernels(Isa isa);

}  // namespace krait
