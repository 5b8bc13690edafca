// Microkernels of selective_scan.h: a run of tokens over some of the channels, all inputs f32.
#pragma once

#include <cstdint>

namespace krait {

/// Row t of a matrix begins at data + t * stride.
struct ScanRows {
  const float* data;
  std::int64_t stride;
};

/// Pointers are to the first channel of the run (or the first state, for B and C).
struct ScanRun {
  std::int64_t tokens, channels, states;
  const float* a2;       ///< [states, channels], rows `channel_stride` apart
  const float* D;        ///< [channels]
  const float* dt_bias;  ///< [channels] or nullptr
  ScanRows u, dt, z;     ///< [tokens, channels]; z.data may be nullptr
  ScanRows B, C;         ///< [tokens, states]
  void* h;               ///< [states, channels], rows `channel_stride` elements apart
  const float* h_scale;  ///< int8 state: [channels]
  std::int64_t channel_stride;
  float* y;  ///< [tokens, channels]
  std::int64_t y_stride;
  float* scratch;            ///< [2, states, 16]
  float *delta, *gate;       ///< scratch [tokens, channels], rows `wide_stride` apart; may be
  std::int64_t wide_stride;  ///< the memory of dt and z themselves
};

/// One for each type of state, which they read once, update in f32 rounded to that type after every
/// token, and write once.
struct SelectiveScanKernels {
  void (*scan_f32)(const ScanRun& run);
  void (*scan_f16)(const ScanRun& run);
  void (*scan_i8)(const ScanRun& run);
};

extern const SelectiveScanKernels selective_scan_reference, selective_scan_avx2,
    selective_scan_avx512, selective_scan_neon;

}  // namespace krait
