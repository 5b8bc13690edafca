// What models do with whole rows between the other operations.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/context.h"

namespace krait {

/// x += add, both [rows, cols] f32: where a residual takes two values before its norm.
inline void add_rows(Context& ctx, float* x, const float* add, std::int64_t rows,
                     std::int64_t cols) {
  ctx.operations.add_rows(ctx, x, add, rows, cols);
}

/// x *= scale, [rows, cols] f32: what some models do to embeddings, branches and logits.
inline void scale_rows(Context& ctx, float* x, float scale, std::int64_t rows, std::int64_t cols) {
  ctx.operations.scale_rows(ctx, x, scale, rows, cols);
}

/// x = 0, [rows, cols] f32.
inline void clear_rows(Context& ctx, float* x, std::int64_t rows, std::int64_t cols) {
  ctx.operations.clear_rows(ctx, x, rows, cols);
}

/// y = x, both f32 [T, cols]: columns of a product as a matrix of their own, and the reverse.
inline void copy_rows(Context& ctx, const Activation& x, const Activation& y) {
  ctx.operations.copy_rows(ctx, x, y);
}

/// y = rows `rows` of x, with their scales: y has x's numerics and [rows.size(), cols].
inline void gather_rows(Context& ctx, const Activation& x, std::span<const std::int32_t> rows,
                        const Activation& y) {
  ctx.operations.gather_rows(ctx, x, rows, y);
}

/// out[rows[i], d] = fma(weights[i], y[i, d], out[rows[i], d]). y f32 [rows.size(), cols], out f32
/// [T, cols]; the rows differ.
inline void scatter_add(Context& ctx, const Activation& y, std::span<const std::int32_t> rows,
                        std::span<const float> weights, float* out) {
  ctx.operations.scatter_add(ctx, y, rows, weights, out);
}

}  // namespace krait
