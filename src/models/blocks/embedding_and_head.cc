#include "models/blocks/embedding_and_head.h"

#include <vector>

#include "kernels/hadamard/hadamard.h"
#include "kernels/linear/linear.h"
#include "kernels/rows/rows.h"
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
std::vector<std::int32_t> tokens_with_logits(const Batch& batch) {
  std::vector<std::int32_t> tokens;
  for (std::size_t i = 0; i < batch.rows.size(); ++i) {
    const std::int64_t end = batch.cu_seqlens[i + 1];
    const std::int64_t rows = logit_rows(batch.rows[i], end - batch.cu_seqlens[i]);
    for (std::int64_t t = end - rows; t < end; ++t) {
      tokens.push_back(static_cast<std::int32_t>(t));
    }
  }
  return tokens;
}

}  // namespace

void run_head(Context& ctx, const Ends& ends, const Batch& batch, float* residual, const float* add,
              float* logits) {
  const std::int64_t D = ends.table.cols();
  auto T = static_cast<std::int64_t>(batch.ids.size());
  const std::vector<std::int32_t> wanted = tokens_with_logits(batch);
  if (wanted.empty() && !ctx.tap) return;
  if (const auto rows = std::ssize(wanted); rows > 0 && rows < T) {  // only they are multiplied
    const auto gathered = [&](const float* from) {
      const Activation all = f32_activation(const_cast<float*>(from), T, D);
      const Activation some = f32_activation(ctx.arena.take<float>(rows * D), rows, D);
      gather_rows(ctx, all, wanted, some);
      return static_cast<float*>(some.data);
    };
    residual = gathered(residual);
    add = gathered(add);
    T = rows;
  }
  const Activation hidden = norm_to_site(ctx, residual, add, ends.norm, ends.head_input, T);
  if (wanted.empty()) {
    ctx.tap->product(ends.head, hidden);
    return;
  }
  const std::int64_t V = ends.head.rows();
  Memory& memory = ctx.arena.memory();
  float* const out = memory.is_host() ? logits : ctx.arena.take<float>(T * V);
  linear(ctx, ends.head, hidden, f32_activation(out, T, V));
  if (ends.spec.logit_scale != 1) scale_rows(ctx, out, ends.spec.logit_scale, T, V);
  if (out != logits) memory.read(logits, out, static_cast<std::size_t>(T * V) * sizeof(float));
}

}  // namespace krait
