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
  float* y;                 ///< [tokens, head_dim], rows `y_stride` apart
  std::int64_t y_stride;
};

/// C B^T of one chunk and group, or one row of it: `tokens` is kSsdQ or 1.
struct SsdScores {
  std::int64_t tokens, states;
  const float* C;  ///< [tokens, states]
  const float* B;  ///< [states, kSsdQ]
  float* scores;   ///< [tokens, kSsdQ], written; what is right of the diagonal is never read
};

/// One chunk of a head, `channels` of its channels.
struct SsdChunk {
  std::int64_t channels, states;
  const float *delta, *decay;  ///< of token t at [t * step_stride]
  std::int64_t step_stride;
  const float* x;  ///< [kSsdQ, channels], rows `x_stride` apart
  std::int64_t x_stride;
  bool more;                    ///< x and y of another chunk lie behind
  const float *B, *C, *scores;  ///< as in SsdScores
  const float* D;               ///< [channels]
  float* state;                 ///< [states, channels], rows `state_stride` apart
  std::int64_t state_stride;
  float* scratch;  ///< [kSsdQ * (kSsdQ + 2 * channels)]
  float* y;        ///< [kSsdQ, channels], rows `y_stride` apart
  std::int64_t y_stride;
};

/// What a chunk leaves of the state of `channels` channels of a head.
struct SsdAdvance {
  std::int64_t channels, states;
  float decay;        ///< e[Q - 1]
  const float* B;     ///< [states, kSsdQ]
  const float* left;  ///< [kSsdQ, channels]: A[Q - 1, s] dx[s]
  float* state;       ///< [states, channels], rows `state_stride` apart
  std::int64_t state_stride;
};

/// The output of one token of a head whose state is that of its chunk's start.
struct SsdToken {
  std::int64_t head_dim, states, before;  ///< `before` tokens of the chunk come before it
  const void* state;                      ///< [states, head_dim]: f32, or int8 by row
  const float* row_scale;                 ///< int8: [head_dim]
  const float* C;                         ///< [states]
  float decay;                            ///< e[t]
  const float* mixing;                    ///< [before + 1]: A[t, s] G[t, s]
  const float* dx_before;                 ///< [before, head_dim]
  float delta;
  const float *x, *D;  ///< [head_dim]
  float *dx, *y;       ///< [head_dim], written
};

/// Rows of a dynamic int8 state, `channels` channels of a head.
struct SsdRows {
  std::int64_t channels, states;
  std::int8_t* state;  ///< [states, channels], rows `state_stride` apart
  std::int64_t state_stride;
  float* scale;  ///< [channels]
  float* wide;   ///< [states, channels]: the state in f32
};

struct SsdKernels {
  void (*steps)(const SsdSteps& steps);
  /// One for each type of state that is rounded after every token.
  void (*run_f16)(const SsdRun& run);
  void (*run_i8)(const SsdRun& run);
  void (*run_i8_clusters)(const SsdRun& run);
  void (*scores)(const SsdScores& scores);
  void (*chunk)(const SsdChunk& chunk);
  void (*advance)(const SsdAdvance& advance);
  void (*token_f32)(const SsdToken& token);
  void (*token_i8)(const SsdToken& token);
  /// wide = state * scale
  void (*widen_rows)(const SsdRows& rows);
  /// state and scale of wide, and wide of them.
  void (*round_rows)(const SsdRows& rows);
};

extern const SsdKernels ssd_reference, ssd_avx2, ssd_avx512, ssd_neon;

}  // namespace krait
