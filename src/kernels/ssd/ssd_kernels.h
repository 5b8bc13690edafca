// Microkernels of ssd.h, all inputs f32.
#pragma once

#include <cstdint>

namespace krait {

/// Tokens that one pass over the state takes in: their decays and outputs stay in registers.
constexpr int kSsdBlock = 8;

/// Tokens of a chunk: kSsdChunk of ssd.h.
constexpr int kSsdQ = 16;

/// Columns of a table of static scales by clusters: kSsdClusters of ssd.h.
constexpr int kSsdTable = 8;

/// Steps and decays of one token, all heads.
struct SsdSteps {
  std::int64_t heads;
  const float *dt, *dt_bias, *a2;  ///< [heads]
  float dt_min, dt_max;
  float *delta, *decay;  ///< [heads], written
};

/// What the noise of a token starts from: see ssd.h.
struct SsdKey {
  std::uint32_t low, high;
};

/// `tokens` tokens of one head: 1 or kSsdBlock.
struct SsdRun {
  std::int64_t tokens, head_dim, states;
  const float *delta, *decay;  ///< of token t at [t * step_stride]
  std::int64_t step_stride;
  const float* x;  ///< [tokens, head_dim], rows `x_stride` apart
  std::int64_t x_stride;
  const float *B, *C;       ///< [states, tokens]
  const float* D;           ///< [head_dim]
  void* state;              ///< [states, head_dim]
  const float* scale;       ///< static int8 state: [head_dim], or by clusters [states, kSsdTable]
  const float* inverse;     ///< 1 / scale
  const std::int8_t* slot;  ///< by clusters: [head_dim]
  float* row_scale;         ///< dynamic int8 state: [head_dim]
  float* scratch;           ///< dynamic: [states, 16]
  const SsdKey* keys;       ///< dithered: [tokens]
  std::uint32_t counter;    ///< dithered: of the head's first state
  float* y;                 ///< [tokens, head_dim], rows `y_stride` apart
  std::int64_t y_stride;
};

/// C B^T of one chunk and group.
struct SsdScores {
  std::int64_t states;
  const float* C;  ///< [kSsdQ, states]
  const float* B;  ///< [states, kSsdQ]
  float* scores;   ///< [kSsdQ, kSsdQ], written; what is above the diagonal is never read
};

/// One chunk of a head, `channels` of its channels. With an f32 state.
struct SsdChunk {
  std::int64_t channels, head_dim, states;
  const float *delta, *decay;  ///< of token t at [t * step_stride]
  std::int64_t step_stride;
  const float* x;  ///< [kSsdQ, channels], rows `x_stride` apart
  std::int64_t x_stride;
  bool more;                    ///< x and y of another chunk lie behind
  const float *B, *C, *scores;  ///< as in SsdScores
  const float* D;               ///< [channels]
  float* state;                 ///< [states, channels], rows `head_dim` apart
  float* scratch;               ///< [kSsdQ * (kSsdQ + 2 * channels)]
  float* y;                     ///< [kSsdQ, channels], rows `y_stride` apart
  std::int64_t y_stride;
};

struct SsdKernels {
  void (*steps)(const SsdSteps& steps);
  /// One for each type of state.
  void (*run_f32)(const SsdRun& run);
  void (*run_f16)(const SsdRun& run);
  void (*run_i8)(const SsdRun& run);
  void (*run_i8_clusters)(const SsdRun& run);
  void (*run_i8_rows)(const SsdRun& run);
  void (*run_i8_rows_dithered)(const SsdRun& run);
  void (*scores)(const SsdScores& scores);
  void (*chunk)(const SsdChunk& chunk);
};

extern const SsdKernels ssd_reference, ssd_avx2, ssd_avx512, ssd_neon;

}  // namespace krait
