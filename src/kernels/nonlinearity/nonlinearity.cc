#include "kernels/nonlinearity/nonlinearity.h"

#include <algorithm>
#include <cassert>

#include "kernels/cpu_operations.h"
#include "kernels/nonlinearity/nonlinearity_kernels.h"
#include "kernels/quantize/quantize.h"

namespace krait {
namespace {

constexpr std::int64_t kElementsPerTask = 4096;

/// make_row(t, out) for all rows, stored as y asks.
template <typename MakeRow>
void each_row(Context& ctx, const Activation& y, MakeRow make_row) {
  const Arena::Scope scope(ctx.arena);
  // A scale that spans rows is known only after the last row: then all of y is kept in f32 first.
  const bool spans_rows = y.dtype == DType::i8 && y.dynamic && y.strategy == Strategy::tensor;
  float* scratch = nullptr;
  if (y.dtype != DType::f32) {
    scratch = ctx.arena.take<float>((spans_rows ? y.rows : ctx.threads.threads()) * y.cols);
  }
  const std::int64_t rows_per_task =
      std::max<std::int64_t>(1, kElementsPerTask / std::max<std::int64_t>(y.cols, 1));
  ctx.threads.parallel_for(
      y.rows, rows_per_task, [&](std::int64_t begin, std::int64_t end, int thread) {
        Activation out = y;
        for (std::int64_t t = begin; t < end; ++t) {
          float* row = scratch ? scratch + (spans_rows ? t : thread) * y.cols : out.f32(t);
          make_row(t, row);
          if (scratch && !spans_rows) store_row(*ctx.kernels.quantize, row, y, t);
        }
      });
  if (spans_rows) cpu::quantize(ctx, f32_activation(scratch, y.rows, y.cols), y);
}

}  // namespace

void cpu::gelu(Context& ctx, Gelu form, const Activation& x, const Activation& y) {
  assert(x.dtype == DType::f32 && x.rows == y.rows && x.cols == y.cols);
  const NonlinearityKernels& kernels = *ctx.kernels.nonlinearity;
  const auto kernel = form == Gelu::erf ? kernels.gelu : kernels.gelu_tanh;
  each_row(ctx, y, [&](std::int64_t t, float* row) { kernel(x.f32(t), row, x.cols); });
}

void cpu::silu_product(Context& ctx, const Activation& gate, const Activation& up, const Activation& y) {
  assert(gate.dtype == DType::f32 && up.dtype == DType::f32);
  assert(gate.rows == y.rows && gate.cols == y.cols && up.rows == y.rows && up.cols == y.cols);
  const auto kernel = ctx.kernels.nonlinearity->silu_product;
  each_row(ctx, y,
           [&](std::int64_t t, float* row) { kernel(gate.f32(t), up.f32(t), row, y.cols); });
}

}  // namespace krait
