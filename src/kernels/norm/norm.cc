#include "kernels/norm/norm.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "kernels/norm/norm_kernels.h"
#include "kernels/quantize/quantize.h"

namespace krait {
namespace {

constexpr std::int64_t kElementsPerTask = 8192;

}  // namespace

void add_rms_norm(Context& ctx, float* residual, const float* add, const float* weight, float eps,
                  const Activation& y) {
  assert(y.cols > 0);
  const NormKernels& kernels = *ctx.kernels.norm;
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
          float* r = residual + t * cols;
          const float sum = kernels.add_sum_of_squares(r, add ? add + t * cols : nullptr, cols);
          const float scale = 1.0f / std::sqrt(sum / static_cast<float>(cols) + eps);
          float* row =
              y.dtype == DType::f32 ? out.f32(t) : scratch + (spans_rows ? t : thread) * cols;
          kernels.scale(r, scale, weight, row, cols);
          if (!spans_rows) store_row(*ctx.kernels.quantize, row, y, t);
        }
      });
  if (spans_rows) quantize(ctx, f32_activation(scratch, y.rows, cols), y);
}

}  // namespace krait
