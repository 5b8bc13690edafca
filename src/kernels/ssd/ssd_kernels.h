// Microkernels of ssd.h, all inputs f32.
#pragma once

#include <cstdint>

namespace krait {

/// Tokens that one pass over the state takes in: their decays and outputs stay in registers.
constexpr int kSsdBlock = 8;

/// Steps and decays of one token, all heads.
struct SsdSteps {
  std::int64_t heads;
  const float *dt, *dt_bias, *a2;  ///< [heads]
  float dt_min, dt_max;
  float *delta, *decay;  ///< [heads], written
};

/// `tokens` tokens of one head: 1 or kSsdBlock.
struct SsdRun {
  std::int64_t tokens, head_dim, states;
  const float *delta, *decay;  ///< of token t at [t * step_stride]
  std::int64_t step_stride;
  const float* x;  ///< [tokens, head_dim], rows `x_stride` apart
  std::int64_t x_stride;
  const float *B, *C;    ///< [states, tokens]
  const float* D;        ///< [head_dim]
  void* state;           ///< [states, head_dim]
  const float* scale;    ///< int8 state: [head_dim]
  const float* inverse;  ///< int8 state: [head_dim], 1 / scale
  float* y;              ///< [tokens, head_dim], rows `y_stride` apart
  std::int64_t y_stride;
};

struct SsdKernels {
  void (*steps)(const SsdSteps& steps);
  /// One for each type of state.
  void (*run_f32)(const SsdRun& run);
  void (*run_f16)(const SsdRun& run);
  void (*run_i8)(const SsdRun& run);
};

extern const SsdKernels ssd_reference, ssd_avx2, ssd_avx512;

}  // namespace krait
