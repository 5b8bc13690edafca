#include "kernels/routing/routing.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "kernels/attention/attention_kernels.h"

namespace krait {
namespace {

constexpr std::int64_t kElementsPerTask = 8192;

}  // namespace

void top_experts(Context& ctx, const Activation& logits, std::int64_t k, std::int32_t* experts,
                 float* weights) {
  assert(logits.dtype == DType::f32 && k >= 1 && k <= logits.cols);
  Activation rows = logits;
  for (std::int64_t t = 0; t < rows.rows; ++t) {
    float* p = rows.f32(t);
    const float sum = ctx.kernels.attention->exponentials(p, rows.cols, 1.0f);
    for (std::int64_t i = 0; i < k; ++i) {
      const float* best = std::max_element(p, p + rows.cols);  // the first of equals
      experts[t * k + i] = static_cast<std::int32_t>(best - p);
      weights[t * k + i] = *best / sum;
      p[best - p] = -1.0f;  // below every exponential
    }
  }
}

void gather_rows(const Activation& x, const std::int32_t* tokens, const Activation& y) {
  assert(x.dtype == y.dtype && x.cols == y.cols && x.strategy == y.strategy);
  assert((x.outliers == nullptr) == (y.outliers == nullptr));
  const auto row_bytes = static_cast<std::size_t>(x.cols) * size_of(x.dtype);
  const auto row_of = [](const Activation& a, std::int64_t t) {
    return static_cast<char*>(a.data) + t * a.stride * static_cast<std::int64_t>(size_of(a.dtype));
  };
  const bool is_i8 = x.dtype == DType::i8;
  if (is_i8 && x.dynamic && x.strategy == Strategy::tensor) y.scale[0] = x.scale[0];
  for (std::int64_t i = 0; i < y.rows; ++i) {
    std::memcpy(row_of(y, i), row_of(x, tokens[i]), row_bytes);
    if (is_i8 && x.strategy == Strategy::token) y.scale[i] = x.scale[tokens[i]];
    if (!x.outliers) continue;
    y.outlier_count[i] = x.outlier_count[tokens[i]];
    std::copy_n(x.outliers + tokens[i] * x.cols, y.outlier_count[i], y.outliers + i * y.cols);
  }
}

void add_weighted_rows(Context& ctx, const Activation& y, const std::int32_t* tokens,
                       const float* weights, float* out) {
  const std::int64_t cols = y.cols;
  ctx.threads.parallel_for(y.rows, std::max<std::int64_t>(1, kElementsPerTask / cols),
                           [&](std::int64_t begin, std::int64_t end, int) {
                             for (std::int64_t i = begin; i < end; ++i) {
                               ctx.kernels.attention->add_weighted(weights + i, 1, 1, y.f32(i), 1,
                                                                   cols, out + tokens[i] * cols);
                             }
                           });
}

}  // namespace krait
