// The two ends of a language model: the embedding table, the final norm and the head.
#pragma once

#include <cstdint>

#include "models/batch.h"
#include "models/visitor.h"

namespace krait {

struct Ends {
  EndsSpec spec;
  Weight table;                  // [V, D]
  Norm norm;                     // the final one
  Weight head;                   // [V, D]; shares the table's memory if tied
  Site head_input;               // the normed hidden state
  std::int64_t table_block = 0;  // > 0: the table is a tied head's, and rotated as its input is
};

/// The table comes before all layers, norm and head after them.
void visit_table(Ends& e, Visitor& v);
void visit_head(Ends& e, Visitor& v);
/// A tied table is rotated as the head reads it.
void prepare(Ends& e);

/// The embeddings of the batch, f32 [T, D], taken from the arena: the residual stream.
float* embed(Context& ctx, const Ends& ends, const Batch& batch);

/// Final norm of residual + add [T, D] and logits [rows, V] of the rows that batch.rows asks for.
/// Without rows nothing is computed, unless someone watches the head's input.
void run_head(Context& ctx, const Ends& ends, const Batch& batch, float* residual, const float* add,
              float* logits);

}  // namespace krait
