#include "models/decoder.h"

#include <algorithm>

#include "kernels/hadamard/hadamard.h"
#include "kernels/linear/linear.h"
#include "kernels/norm/norm.h"
#include "models/activations.h"

namespace krait {

void add_norm(Context& ctx, float* residual, const float* add, const Norm& norm,
              const Activation& y) {
  const float* weight = norm.weight.as<float>().data();
  if (norm.bias.empty()) {
    add_rms_norm(ctx, residual, add, weight, norm.eps, y);
  } else {
    add_layer_norm(ctx, residual, add, weight, norm.bias.as<float>().data(), norm.eps, y);
  }
}

Activation norm_to_site(Context& ctx, float* residual, const float* add, const Norm& norm,
                        const Site& site, std::int64_t T) {
  if (site.numerics.hadamard_block > 0) {
    const Activation wide =
        f32_activation(ctx.arena.take<float>(T * site.channels), T, site.channels);
    add_norm(ctx, residual, add, norm, wide);
    return to_site(ctx, site, wide);
  }
  const Activation hidden = take_site(ctx, site, T);
  add_norm(ctx, residual, add, norm, hidden);
  observe(ctx, site, hidden);
  return hidden;
}

Norm load_norm(const TensorSource& tensors, const std::string& name, float eps) {
  Norm norm{to_f32(tensors.get(name + ".weight").view()), eps};
  if (tensors.contains(name + ".bias")) norm.bias = to_f32(tensors.get(name + ".bias").view());
  return norm;
}

std::size_t read_bytes(const Norm& norm) noexcept {
  return norm.weight.bytes() + (norm.bias.empty() ? 0 : norm.bias.bytes());
}

Ends load_ends(Context& ctx, const TensorSource& tensors, const ModelLayout& layout,
               const std::map<std::string, ActivationNumerics>& numerics, float norm_eps) {
  const LinearSite& table = layout.linears.front();
  const LinearSite& head = layout.linears.back();
  const bool tied = !head.tied_to.empty();
  Ends ends;
  ends.embeddings = load_weight(ctx, tensors, table, tied);
  std::string norm = find_site(layout.params, "norm_f", -1).name;
  norm.resize(norm.size() - std::string_view(".weight").size());
  ends.norm = load_norm(tensors, norm, norm_eps);
  ends.lm_head = tied ? ends.embeddings : load_weight(ctx, tensors, head, true);
  ends.head_input = load_site(tensors, layout, head.input_site, numerics);
  check_input(ends.lm_head, head, ends.head_input);
  if (tied) ends.table_block = ends.head_input.numerics.hadamard_block;
  return ends;
}

float* embed(Context& ctx, const Ends& ends, const Batch& batch) {
  const auto T = static_cast<std::int64_t>(batch.ids.size());
  float* residual = ctx.arena.take<float>(T * ends.embeddings.cols());
  embedding(ctx, ends.embeddings, batch.ids, residual);
  if (ends.table_block > 0) {
    const Activation rows = f32_activation(residual, T, ends.embeddings.cols());
    hadamard_inverse(ctx, rows, ends.table_block);
  }
  return residual;
}

void head(Context& ctx, const Ends& ends, const Batch& batch, LogitRows rows, float* residual,
          const float* add, float* logits) {
  const std::int64_t D = ends.embeddings.cols();
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
    ctx.tap->product(ends.lm_head, hidden);
    return;
  }
  linear(ctx, ends.lm_head, hidden, f32_activation(logits, T, ends.lm_head.rows()));
}

void Decoder::forward(Context& ctx, const Batch& batch, LogitRows rows, float* logits) const {
  const Arena::Scope scope(ctx.arena);
  reserve(batch);
  float* residual = embed(ctx, ends_, batch);  // [T, D], f32 whatever the weights
  const float* add = run_layers(ctx, batch, 0, static_cast<int>(info().n_layers), residual);
  head(ctx, ends_, batch, rows, residual, add, logits);
  advance(batch);
}

void Decoder::forward_layers(Context& ctx, const Batch& batch, int begin, int end,
                             float* residual) const {
  const auto T = static_cast<std::int64_t>(batch.ids.size());
  const auto layers = static_cast<int>(info().n_layers);
  const Arena::Scope scope(ctx.arena);
  reserve(batch);
  if (begin == 0) std::copy_n(embed(ctx, ends_, batch), T * info().d_model, residual);
  const float* add = run_layers(ctx, batch, begin, std::min(end, layers), residual);
  if (end > layers) {
    head(ctx, ends_, batch, LogitRows::none, residual, add, nullptr);
  } else if (add) {
    add_rows(ctx, residual, add, T, info().d_model);
  }
  advance(batch);
}

std::size_t read_bytes(const Ends& ends) noexcept {
  return read_bytes(ends.norm) + read_bytes(ends.lm_head);
}

void reserve(const Batch& batch) {
  for (std::size_t i = 0; i < batch.states.size(); ++i) {
    batch.states[i]->reserve(batch.cu_seqlens[i + 1] - batch.cu_seqlens[i]);
  }
}

void advance(const Batch& batch) {
  for (std::size_t i = 0; i < batch.states.size(); ++i) {
    batch.states[i]->advance(batch.cu_seqlens[i + 1] - batch.cu_seqlens[i]);
  }
}

}  // namespace krait
