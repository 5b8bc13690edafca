// Microkernels of hadamard.h: one block in place.
#pragma once

#include <cstdint>

namespace krait {

struct HadamardKernels {
  /// x [m, length] <- factor * H_m S, length a power of two: butterflies along each row and then
  /// the sums over c. `signs` [m, m] holds H_m as +1 and -1 (m = 1: not read), m <= 28.
  void (*transform)(float* x, std::int64_t m, std::int64_t length, const float* signs,
                    float factor);
};

extern const HadamardKernels hadamard_reference, hadamard_avx2, hadamard_avx512, hadamard_neon;

}  // namespace krait
