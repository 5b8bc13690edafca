#include "kernels/norm/norm.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "kernels/cpu_operations.h"
#include "kernels/norm/norm_kernels.h"
#include "kernels/quantize/quantize.h"

namespace krait {
namespace {

constexpr std::int64_t kElementsPerTask = 8192;

/// y = norm_row(row t of the residual, of `add` or nullptr, f32 output) for all rows, stored as y
/// asks.
template <typename NormRow>
void norm_rows(Context& ctx, float* residual, const float* add, const Activation& y,
               NormRow norm_row) {
  assert(y.cols > 0);
  const std::int64_t cols = y.cols;
  const Arena::Scope scope(ctx.arena);
  // A scale that spans rows is known only after the last row: then all of y is kept in f32 first.
  const bool spans_rows = y.dtype == DType::i8 && y.dynamic && y.strategy == Strategy::tensor;
  float* scratch = ctx.arena.take<float>((spans_rows ? y.rows : ctx.threads.threads()) * cols);
  const std::int64_t rows_per_task = std::max<std::int64_t>(1, kElementsPerTask / cols);
  ctx.threads.parallel_for(
      y.rows, rows_per_task, [&](std::int64_t begin, std::int64_t end, int thread) {
        Activation out = y;
        for (std::int64_t t = begin; t < end; ++t) {
          float* row =
              y.dtype == DType::f32 ? out.f32(t) : scratch + (spans_rows ? t : thread) * cols;
          norm_row(residual + t * cols, add ? add + t * cols : nullptr, row);
          if (!spans_rows) store_row(*ctx.kernels.quantize, row, y, t);
        }
      });
  if (spans_rows) cpu::quantize(ctx, f32_activation(scratch, y.rows, cols), y);
}

float scale_of(float sum, std::int64_t cols, float eps) {
  return 1.0f / std::sqrt(sum / static_cast<float>(cols) + eps);
}

}  // namespace

void cpu::add_rms_norm(Context& ctx, float* residual, const float* add, const float* weight, float eps,
                  const Activation& y) {
  const NormKernels& kernels = *ctx.kernels.norm;
  const std::int64_t cols = y.cols;
  norm_rows(ctx, residual, add, y, [&](float* r, const float* a, float* row) {
    const float sum = kernels.add_sum_of_squares(r, a, cols);
    kernels.scale(r, scale_of(sum, cols, eps), weight, row, cols);
  });
}

void cpu::add_layer_norm(Context& ctx, float* residual, const float* add, const float* weight,
                    const float* bias, float eps, const Activation& y) {
  const NormKernels& kernels = *ctx.kernels.norm;
  const std::int64_t cols = y.cols;
  norm_rows(ctx, residual, add, y, [&](float* r, const float* a, float* row) {
    const float mean = kernels.add_sum(r, a, cols) / static_cast<float>(cols);
    const float squares = kernels.center(r, mean, row, cols);
    kernels.scale_shift(scale_of(squares, cols, eps), weight, bias, row, cols);
  });
}

}  // namespace krait
