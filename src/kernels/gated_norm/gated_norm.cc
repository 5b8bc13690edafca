#include "kernels/gated_norm/gated_norm.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "kernels/cpu_operations.h"
#include "kernels/gated_norm/gated_norm_kernels.h"
#include "kernels/norm/norm_kernels.h"
#include "kernels/quantize/quantize.h"

namespace krait {
namespace {

constexpr std::int64_t kElementsPerTask = 4096;

}  // namespace

void cpu::gated_rms_norm(Context& ctx, const Activation& y, const Activation& z, const float* weight,
                    float eps, std::int64_t groups, const Activation& out) {
  assert(groups > 0 && out.cols > 0 && out.cols % groups == 0);
  assert(y.dtype == DType::f32 && y.rows == out.rows && y.cols == out.cols);
  assert(z.rows == out.rows && z.cols == out.cols);
  const std::int64_t cols = out.cols, width = cols / groups;
  const Arena::Scope scope(ctx.arena);
  float* wide = ctx.arena.take<float>(ctx.threads.threads() * cols);  // z, where it is int8
  // A scale that spans rows is known only after the last row: until then y keeps the f32 result.
  const bool spans_rows = out.dtype == DType::i8 && out.dynamic && out.strategy == Strategy::tensor;
  const auto norm_row = [&](std::int64_t t, int thread) {
    Activation values = y;
    float* v = values.f32(t);
    float* gate = wide + thread * cols;
    load_row(*ctx.kernels.quantize, z, t, 0, cols, gate);
    for (std::int64_t c = 0; c < cols; c += width) {
      const float sum = ctx.kernels.gated_norm->gate_sum_of_squares(v + c, gate + c, width);
      const float scale = 1.0f / std::sqrt(sum / static_cast<float>(width) + eps);
      ctx.kernels.norm->scale(v + c, scale, weight + c, v + c, width);
    }
    if (!spans_rows) store_row(*ctx.kernels.quantize, v, out, t);
  };
  const std::int64_t rows_per_task = std::max<std::int64_t>(1, kElementsPerTask / cols);
  ctx.threads.parallel_for(y.rows, rows_per_task,
                           [&](std::int64_t begin, std::int64_t end, int thread) {
                             for (std::int64_t t = begin; t < end; ++t) norm_row(t, thread);
                           });
  if (spans_rows) cpu::quantize(ctx, y, out);
}

}  // namespace krait
