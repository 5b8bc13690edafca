// What every architecture has around its layers: the embedding table, norms, the final norm and the
// head.
#pragma once

#include <cstdint>

#include "kernels/context.h"
#include "models/model.h"
#include "models/weights.h"

namespace krait {

/// RMSNorm (Zhang and Sennrich 2019), or LayerNorm (Ba et al. 2016) if it has a bias.
struct Norm {
  Tensor weight;  ///< f32 [cols]
  float eps = 1e-5f;
  Tensor bias = {};  ///< f32 [cols] or empty
};

/// name + ".weight" and, if the checkpoint has it, name + ".bias".
Norm load_norm(const TensorSource& tensors, const std::string& name, float eps);

std::size_t read_bytes(const Norm& norm) noexcept;

/// residual += add (unless nullptr); y = norm(residual), in the numerics of y. [T, cols] each.
void add_norm(Context& ctx, float* residual, const float* add, const Norm& norm,
              const Activation& y);

/// norm(residual + add) as the site keeps it: rotated where its weights are, and quantized. The
/// residual [T, channels] takes `add` (unless nullptr); the site is observed.
Activation norm_to_site(Context& ctx, float* residual, const float* add, const Norm& norm,
                        const Site& site, std::int64_t T);

/// The two ends of a language model.
struct Ends {
  Weight embeddings;             ///< [V, D]
  std::int64_t table_block = 0;  ///< > 0: the table is a tied head's, and rotated as its input is
  Norm norm;                     ///< the final norm
  Weight lm_head;                ///< [V, D]; shares the table's memory if tied
  Site head_input;               ///< the normed hidden state
};

/// The table is the layout's first linear site, the head its last, the final norm the
/// parameter norm_f. A head's int8 weights need an int8 input.
Ends load_ends(Context& ctx, const TensorSource& tensors, const ModelLayout& layout,
               const std::map<std::string, ActivationNumerics>& numerics, float norm_eps);

/// The embeddings of the batch, f32 [T, D], taken from the arena: the residual stream.
float* embed(Context& ctx, const Ends& ends, const Batch& batch);

/// Final norm of residual + add [T, D] and logits [rows, V] of the rows that are asked for. Without
/// rows nothing is computed, unless someone watches the head's input.
void head(Context& ctx, const Ends& ends, const Batch& batch, LogitRows rows, float* residual,
          const float* add, float* logits);

/// Bytes that one decoded token reads of the ends: one row of the table is not counted.
std::size_t read_bytes(const Ends& ends) noexcept;

/// fn(ctx, state, begin, end) for every sequence with tokens [begin, end) in the batch. Where each
/// of several sequences has few tokens, as in decoding, threads take whole sequences.
template <typename Fn>
void for_each_sequence(Context& ctx, const Batch& batch, Fn&& fn) {
  constexpr std::size_t kFewTokens = 16;
  const std::size_t sequences = batch.states.size();
  const auto run = [&](Context& own, std::int64_t index) {
    const auto i = static_cast<std::size_t>(index);
    const std::int64_t begin = batch.cu_seqlens[i], end = batch.cu_seqlens[i + 1];
    if (begin < end) fn(own, *batch.states[i], begin, end);
  };
  const bool side_by_side = sequences >= static_cast<std::size_t>(ctx.threads.threads()) &&
                            sequences > 1 && batch.ids.size() <= kFewTokens * sequences;
  if (side_by_side && !ctx.tap) {
    for_each_lane(ctx, static_cast<std::int64_t>(sequences), run);
  } else {
    for (std::size_t i = 0; i < sequences; ++i) run(ctx, static_cast<std::int64_t>(i));
  }
}

/// Room for the batch's tokens in states that grow: the first thing a forward pass with attention
/// does.
void reserve(const Batch& batch);

/// Counts the tokens of the batch in the states: the last thing a forward pass does.
void advance(const Batch& batch);

}  // namespace krait
