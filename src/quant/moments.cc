#include "quant/moments.h"

#include <algorithm>

#include "kernels/linear/linear.h"

namespace krait {
namespace {

/// [rows, cols] -> [cols, rows]
Tensor transposed(ThreadPool& threads, std::span<const float> x, std::int64_t rows,
                  std::int64_t cols) {
  constexpr std::int64_t kStrip = 16;  // columns: what one row of them reads is a cache line
  Tensor result(DType::f32, {cols, rows});
  float* out = result.mutable_as<float>().data();
  const std::int64_t strips = (cols + kStrip - 1) / kStrip;
  threads.parallel_for(strips, 1, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t s = begin; s < end; ++s) {
      const std::int64_t last = std::min(cols, (s + 1) * kStrip);
      for (std::int64_t r = 0; r < rows; ++r) {
        const float* row = x.data() + r * cols;
        for (std::int64_t c = s * kStrip; c < last; ++c) out[c * rows + r] = row[c];
      }
    }
  });
  return result;
}

}  // namespace

void add_product(Context& ctx, std::span<const float> a, std::span<const float> b,
                 std::int64_t tokens, std::vector<double>& out) {
  const auto n = std::ssize(a) / tokens, m = std::ssize(b) / tokens;
  Tensor left = transposed(ctx.threads, a, tokens, n);
  Weight right;
  right.data = transposed(ctx.threads, b, tokens, m);
  const Arena::Scope scope(ctx.arena);
  const Activation product = f32_activation(ctx.arena.take<float>(n * m), n, m);
  linear(ctx, right, f32_activation(left.mutable_as<float>().data(), n, tokens), product);
  out.resize(static_cast<std::size_t>(n * m));
  ctx.threads.parallel_for(n, 16, [&](std::int64_t begin, std::int64_t end, int) {
    const float* values = product.f32();
    for (std::int64_t i = begin * m; i < end * m; ++i)
      out[static_cast<std::size_t>(i)] += values[i];
  });
}

void Moments::add(Context& ctx, std::span<const float> x) {
  if (x.empty()) return;
  const std::int64_t rows = std::ssize(x) / cols;
  tokens += rows;
  add_product(ctx, x, x, rows, own);
}

void Moments::add_cross(Context& ctx, std::span<const float> y, std::span<const float> x) {
  if (!x.empty()) add_product(ctx, y, x, std::ssize(x) / cols, cross);
}

std::vector<float> widened(const Activation& x) {
  std::vector<float> result(static_cast<std::size_t>(x.rows * x.cols));
  for (std::int64_t r = 0; r < x.rows; ++r) {
    float* out = result.data() + r * x.cols;
    if (x.dtype == DType::f32) {
      std::copy_n(x.f32(r), x.cols, out);
      continue;
    }
    for (std::int64_t c = 0; c < x.cols; ++c) {
      const std::int64_t i = x.strategy == Strategy::token     ? r
                             : x.strategy == Strategy::channel ? c
                                                               : 0;
      out[c] = x.scale[i] * static_cast<float>(x.i8(r)[c]);
    }
    for (std::int32_t k = 0; x.outliers && k < x.outlier_count[r]; ++k) {
      const Outlier& outlier = x.outliers[r * x.cols + k];
      out[outlier.column] = outlier.value;
    }
  }
  return result;
}

}  // namespace krait
