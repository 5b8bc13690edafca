#include "models/blocks/embedding_and_head.h"

#include <algorithm>
#include <vector>

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

namespace {

/// The tokens of the batch that have a row of logits.
std::vector<std::int64_t> tokens_with_logits(const Batch& batch) {
  std::vector<std::int64_t> tokens;
  for (std::size_t i = 0; i < batch.rows.size(); ++i) {
    const std::int64_t end = batch.cu_seqlens[i + 1];
    const std::int64_t rows = logit_rows(batch.rows[i], end - batch.cu_seqlens[i]);
    for (std::int64_t t = end - rows; t < end; ++t) tokens.push_back(t);
  }
  return tokens;
}

}  // namespace

void run_head(Context& ctx, const Ends& ends, const Batch& batch, float* residual, const float* add,
              float* logits) {
  const std::int64_t D = ends.table.cols();
  auto T = static_cast<std::int64_t>(batch.ids.size());
  const std::vector<std::int64_t> wanted = tokens_with_logits(batch);
  if (wanted.empty() && !ctx.tap) return;
  if (const auto rows = std::ssize(wanted); rows > 0 && rows < T) {  // only they are multiplied
    float* wanted_residual = ctx.arena.take<float>(rows * D);
    float* wanted_add = ctx.arena.take<float>(rows * D);
    for (std::int64_t i = 0; i < rows; ++i) {
      const std::int64_t t = wanted[static_cast<std::size_t>(i)];
      std::copy_n(residual + t * D, D, wanted_residual + i * D);
      std::copy_n(add + t * D, D, wanted_add + i * D);
    }
    residual = wanted_residual;
    add = wanted_add;
    T = rows;
  }
  const Activation hidden = norm_to_site(ctx, residual, add, ends.norm, ends.head_input, T);
  if (wanted.empty()) {
    ctx.tap->product(ends.head, hidden);
    return;
  }
  linear(ctx, ends.head, hidden, f32_activation(logits, T, ends.head.rows()));
  if (ends.spec.logit_scale != 1) {
    scale_rows(ctx, logits, ends.spec.logit_scale, T, ends.head.rows());
  }
}

}  // namespace krait
