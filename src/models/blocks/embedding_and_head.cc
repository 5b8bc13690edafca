#include "models/blocks/embedding_and_head.h"

#include <algorithm>

#include "kernels/hadamard/hadamard.h"
#include "kernels/linear/linear.h"
#include "kernels/norm/norm.h"
#include "models/activations.h"

namespace krait {

void visit_table(Ends& e, Visitor& v) {
  const EndsSpec& s = e.spec;
  v.product(e.table,
            {.name = s.table,
             .role = "embeddings",
             .kind = "table",
             .rows = s.vocab_rows,
             .cols = s.d_model},
            {});
}

void visit_head(Ends& e, Visitor& v) {
  const EndsSpec& s = e.spec;
  v.norm(e.norm, s.norm, s.d_model, "norm_f");
  v.sites = s.head.substr(0, s.head.rfind('.') + 1);
  v.site(e.head_input,
         {.role = "lm_head.input", .channels = s.d_model, .rotatable = true, .norm = s.norm.name});
  v.product(e.head,
            {.name = s.head,
             .role = "lm_head",
             .kind = "head",
             .rows = s.vocab_rows,
             .cols = s.d_model,
             .tied_to = s.tied ? s.table : ""},
            e.head_input);
}

void prepare(Ends& e) {
  if (e.spec.tied) e.table_block = e.head_input.numerics.hadamard_block;
}

float* embed(Context& ctx, const Ends& ends, const Batch& batch) {
  const auto T = static_cast<std::int64_t>(batch.ids.size());
  float* residual = ctx.arena.take<float>(T * ends.table.cols());
  embedding(ctx, ends.table, batch.ids, residual);
  if (ends.table_block > 0) {
    const Activation rows = f32_activation(residual, T, ends.table.cols());
    hadamard_inverse(ctx, rows, ends.table_block);
  }
  if (ends.spec.embedding_scale != 1) {
    scale_rows(ctx, residual, ends.spec.embedding_scale, T, ends.table.cols());
  }
  return residual;
}

void run_head(Context& ctx, const Ends& ends, const Batch& batch, LogitRows rows, float* residual,
              const float* add, float* logits) {
  const std::int64_t D = ends.table.cols();
  auto T = static_cast<std::int64_t>(batch.ids.size());
  if (rows == LogitRows::none && !ctx.tap) return;
  if (rows == LogitRows::last) {  // only these rows are normed and multiplied
    const auto sequences = static_cast<std::int64_t>(batch.states.size());
    float* last_residual = ctx.arena.take<float>(sequences * D);
    float* last_add = ctx.arena.take<float>(sequences * D);
    for (std::int64_t i = 0; i < sequences; ++i) {
      const std::int64_t t = batch.cu_seqlens[static_cast<std::size_t>(i) + 1] - 1;
      std::copy_n(residual + t * D, D, last_residual + i * D);
      std::copy_n(add + t * D, D, last_add + i * D);
    }
    residual = last_residual;
    add = last_add;
    T = sequences;
  }
  const Activation hidden = norm_to_site(ctx, residual, add, ends.norm, ends.head_input, T);
  if (rows == LogitRows::none) {
    ctx.tap->product(ends.head, hidden);
    return;
  }
  linear(ctx, ends.head, hidden, f32_activation(logits, T, ends.head.rows()));
  if (ends.spec.logit_scale != 1) {
    scale_rows(ctx, logits, ends.spec.logit_scale, T, ends.head.rows());
  }
}

}  // namespace krait
