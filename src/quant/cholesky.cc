#include "quant/cholesky.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace krait {
namespace {

constexpr std::int64_t kPanel = 64;  // columns that are finished before the rest is updated

/// The columns [begin, end) of rows [0, end), from the right; those to the right of `end` have been
/// taken off already. Row i of the panel needs the rows of its columns only, which come first.
bool factor_panel(ThreadPool& threads, double* a, std::int64_t n, std::int64_t begin,
                  std::int64_t end) {
  const auto eliminate = [&](std::int64_t i, std::int64_t j) {  // V_ij is known
    const double v = a[i * n + j];
    for (std::int64_t c = std::max(begin, i); c < j; ++c) a[i * n + c] -= v * a[c * n + j];
  };
  for (std::int64_t j = end - 1; j >= begin; --j) {
    double& pivot = a[j * n + j];
    if (!(pivot > 0) || !std::isfinite(pivot)) return false;
    pivot = std::sqrt(pivot);
    for (std::int64_t i = begin; i < j; ++i) a[i * n + j] /= pivot;
    for (std::int64_t i = begin; i < j; ++i) eliminate(i, j);
  }
  threads.parallel_for(begin, 8, [&](std::int64_t first, std::int64_t last, int) {
    for (std::int64_t i = first; i < last; ++i) {
      for (std::int64_t j = end - 1; j >= begin; --j) {
        a[i * n + j] /= a[j * n + j];
        eliminate(i, j);
      }
    }
  });
  return true;
}

}  // namespace

bool factor_upper(ThreadPool& threads, std::span<double> matrix, std::int64_t n) {
  double* a = matrix.data();
  std::vector<double> panel;  // [columns of the panel, rows above it]: V transposed
  for (std::int64_t end = n; end > 0; end -= std::min(end, kPanel)) {
    const std::int64_t begin = std::max<std::int64_t>(0, end - kPanel), width = end - begin;
    if (!factor_panel(threads, a, n, begin, end)) return false;
    panel.resize(static_cast<std::size_t>(width * begin));
    for (std::int64_t k = 0; k < width; ++k) {
      for (std::int64_t i = 0; i < begin; ++i) {
        panel[static_cast<std::size_t>(k * begin + i)] = a[i * n + begin + k];
      }
    }
    threads.parallel_for(begin, 8, [&](std::int64_t first, std::int64_t last, int) {
      for (std::int64_t i = first; i < last; ++i) {
        double* row = a + i * n;
        for (std::int64_t k = 0; k < width; ++k) {
          const double v = row[begin + k];
          const double* other = panel.data() + k * begin;
          for (std::int64_t c = i; c < begin; ++c) row[c] -= v * other[c];
        }
      }
    });
  }
  for (std::int64_t i = 0; i < n; ++i) std::fill(a + i * n, a + i * n + i, 0.0);
  return true;
}

void solve_upper(std::span<const double> V, std::span<double> x) {
  const auto n = static_cast<std::int64_t>(x.size());
  // x = y V^T V'... first z V^T = x, that is V z^T = x^T from the last element on; then y V = z.
  for (std::int64_t i = n - 1; i >= 0; --i) {
    const double* row = V.data() + i * n;
    double sum = x[static_cast<std::size_t>(i)];
    for (std::int64_t k = i + 1; k < n; ++k) sum -= row[k] * x[static_cast<std::size_t>(k)];
    x[static_cast<std::size_t>(i)] = sum / row[i];
  }
  for (std::int64_t i = 0; i < n; ++i) {
    const double* row = V.data() + i * n;
    const double y = x[static_cast<std::size_t>(i)] / row[i];
    x[static_cast<std::size_t>(i)] = y;
    for (std::int64_t k = i + 1; k < n; ++k) x[static_cast<std::size_t>(k)] -= y * row[k];
  }
}

}  // namespace krait
