#include "kernels/quantize/quantize.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstring>

#include "kernels/cpu_operations.h"

namespace krait {
namespace {

// Below about this many elements per thread a parallel region costs more than it saves.
constexpr std::int64_t kElementsPerTask = 16384;

std::int64_t rows_per_task(const Activation& x) {
  return std::max<std::int64_t>(1, kElementsPerTask / std::max<std::int64_t>(x.cols, 1));
}

float scale_of(float absmax) { return absmax < 1e-30f ? 1.0f : absmax / 127.0f; }

float absmax_of_all(Context& ctx, const Activation& x) {
  const Arena::Scope scope(ctx.arena);
  const int threads = ctx.threads.threads();
  float* most = ctx.arena.take<float>(threads);
  std::fill_n(most, threads, 0.0f);
  ctx.threads.parallel_for(
      x.rows, rows_per_task(x), [&](std::int64_t begin, std::int64_t end, int thread) {
        for (std::int64_t t = begin; t < end; ++t) {
          most[thread] = std::max(most[thread], ctx.kernels.quantize->absmax(x.f32(t), x.cols));
        }
      });
  return *std::max_element(most, most + threads);
}

/// One row of y, whose outliers are listed and left out.
void split_row(const QuantizeKernels& kernels, const float* x, const Activation& y,
               std::int64_t row, std::int8_t* q) {
  Outlier* const list = y.outliers + row * y.cols;
  std::int32_t count = 0;
  float most = kernels.absmax(x, y.cols);
  if (most > y.outlier_threshold) {  // most rows have none
    most = 0.0f;
    for (std::int64_t c = 0; c < y.cols; ++c) {
      const float magnitude = std::fabs(x[c]);
      if (!(magnitude <= y.outlier_threshold)) {  // NaN is one
        list[count++] = {static_cast<std::int32_t>(c), x[c]};
      } else if (magnitude > most) {
        most = magnitude;
      }
    }
  }
  y.outlier_count[row] = count;
  y.scale[row] = scale_of(most);
  kernels.quantize(x, y.scale[row], q, y.cols);
  for (std::int32_t i = 0; i < count; ++i) q[list[i].column] = 0;
}

}  // namespace

void store_row(const QuantizeKernels& kernels, const float* x, const Activation& y,
               std::int64_t row) {
  Activation out = y;
  if (y.dtype == DType::f32) {
    float* target = out.f32(row);
    if (target != x) std::memcpy(target, x, static_cast<std::size_t>(y.cols) * sizeof(float));
    return;
  }
  assert(y.dtype == DType::i8 && y.scale);
  std::int8_t* q = out.i8(row);
  switch (y.strategy) {
    case Strategy::channel:
      assert(!y.dynamic);
      kernels.quantize_channels(x, y.scale, q, y.cols);
      return;
    case Strategy::token:
      assert(y.dynamic);
      if (y.outliers) {
        split_row(kernels, x, y, row, q);
        return;
      }
      y.scale[row] = scale_of(kernels.absmax(x, y.cols));
      kernels.quantize(x, y.scale[row], q, y.cols);
      return;
    default:
      assert(y.strategy == Strategy::tensor);
      kernels.quantize(x, y.scale[0], q, y.cols);
  }
}

void cpu::quantize(Context& ctx, const Activation& x, const Activation& y) {
  assert(x.dtype == DType::f32 && x.rows == y.rows && x.cols == y.cols);
  if (x.data == y.data) return;
  if (y.dtype == DType::i8 && y.dynamic && y.strategy == Strategy::tensor) {
    y.scale[0] = scale_of(absmax_of_all(ctx, x));
  }
  ctx.threads.parallel_for(x.rows, rows_per_task(x),
                           [&](std::int64_t begin, std::int64_t end, int) {
                             for (std::int64_t t = begin; t < end; ++t)
                               store_row(*ctx.kernels.quantize, x.f32(t), y, t);
                           });
}

void load_row(const QuantizeKernels& kernels, const Activation& x, std::int64_t row,
              std::int64_t begin, std::int64_t end, float* out) {
  const std::int64_t n = end - begin;
  if (x.dtype == DType::f32) {
    const float* source = x.f32(row) + begin;
    if (source != out) std::memcpy(out, source, static_cast<std::size_t>(n) * sizeof(float));
    return;
  }
  assert(x.dtype == DType::i8 && x.scale);
  const std::int8_t* q = x.i8(row) + begin;
  if (x.strategy == Strategy::channel) {
    kernels.dequantize_channels(q, x.scale + begin, out, n);
  } else {
    kernels.dequantize(q, x.scale[x.strategy == Strategy::token ? row : 0], out, n);
  }
  if (!x.outliers) return;
  const Outlier* const list = x.outliers + row * x.cols;
  for (std::int32_t i = 0; i < x.outlier_count[row]; ++i) {
    const std::int64_t column = list[i].column;
    if (column >= begin && column < end) out[column - begin] = list[i].value;
  }
}

void cpu::dequantize(Context& ctx, const Activation& x, const Activation& y) {
  assert(y.dtype == DType::f32 && x.rows == y.rows && x.cols == y.cols);
  ctx.threads.parallel_for(x.rows, rows_per_task(x),
                           [&](std::int64_t begin, std::int64_t end, int) {
                             Activation out = y;
                             for (std::int64_t t = begin; t < end; ++t) {
                               load_row(*ctx.kernels.quantize, x, t, 0, x.cols, out.f32(t));
                             }
                           });
}

}  // namespace krait
