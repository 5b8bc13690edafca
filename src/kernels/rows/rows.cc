#include "kernels/rows/rows.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "kernels/attention/attention_kernels.h"
#include "kernels/cpu_operations.h"

namespace krait {
namespace {

constexpr std::int64_t kElementsPerTask = 8192;

}  // namespace

void cpu::add_rows(Context& ctx, float* x, const float* add, std::int64_t rows, std::int64_t cols) {
  ctx.threads.parallel_for(rows * cols, kElementsPerTask,
                           [&](std::int64_t begin, std::int64_t end, int) {
                             for (std::int64_t i = begin; i < end; ++i) x[i] += add[i];
                           });
}

void cpu::scale_rows(Context& ctx, float* x, float scale, std::int64_t rows, std::int64_t cols) {
  ctx.threads.parallel_for(rows * cols, kElementsPerTask,
                           [&](std::int64_t begin, std::int64_t end, int) {
                             for (std::int64_t i = begin; i < end; ++i) x[i] *= scale;
                           });
}

void cpu::clear_rows(Context&, float* x, std::int64_t rows, std::int64_t cols) {
  std::fill_n(x, rows * cols, 0.0f);
}

void cpu::copy_rows(Context&, const Activation& x, const Activation& y) {
  assert(x.dtype == DType::f32 && y.dtype == DType::f32 && x.rows == y.rows && x.cols == y.cols);
  Activation to = y;
  for (std::int64_t t = 0; t < x.rows; ++t) std::copy_n(x.f32(t), x.cols, to.f32(t));
}

void cpu::gather_rows(Context&, const Activation& x, std::span<const std::int32_t> rows,
                      const Activation& y) {
  assert(x.dtype == y.dtype && x.cols == y.cols && x.strategy == y.strategy);
  assert((x.outliers == nullptr) == (y.outliers == nullptr) && std::ssize(rows) == y.rows);
  const auto row_bytes = static_cast<std::size_t>(x.cols) * size_of(x.dtype);
  const auto row_of = [](const Activation& a, std::int64_t t) {
    return static_cast<char*>(a.data) + t * a.stride * static_cast<std::int64_t>(size_of(a.dtype));
  };
  const bool is_i8 = x.dtype == DType::i8;
  if (is_i8 && x.dynamic && x.strategy == Strategy::tensor) y.scale[0] = x.scale[0];
  for (std::int64_t i = 0; i < y.rows; ++i) {
    const std::int64_t from = rows[static_cast<std::size_t>(i)];
    std::memcpy(row_of(y, i), row_of(x, from), row_bytes);
    if (is_i8 && x.strategy == Strategy::token) y.scale[i] = x.scale[from];
    if (!x.outliers) continue;
    y.outlier_count[i] = x.outlier_count[from];
    std::copy_n(x.outliers + from * x.cols, y.outlier_count[i], y.outliers + i * y.cols);
  }
}

void cpu::scatter_add(Context& ctx, const Activation& y, std::span<const std::int32_t> rows,
                      std::span<const float> weights, float* out) {
  assert(std::ssize(rows) == y.rows && std::ssize(weights) == y.rows);
  const std::int64_t cols = y.cols;
  ctx.threads.parallel_for(y.rows, std::max<std::int64_t>(1, kElementsPerTask / cols),
                           [&](std::int64_t begin, std::int64_t end, int) {
                             for (std::int64_t i = begin; i < end; ++i) {
                               const std::int64_t row = rows[static_cast<std::size_t>(i)];
                               ctx.kernels.attention->add_weighted(
                                   weights.data() + i, 1, 1, y.f32(i), 1, cols, out + row * cols);
                             }
                           });
}

}  // namespace krait
