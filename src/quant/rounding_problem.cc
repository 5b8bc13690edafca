#include "quant/rounding_problem.h"

#include <cmath>

#include "quant/cholesky.h"

namespace krait {

double mean_diagonal(std::span<const double> H, std::int64_t n) {
  double sum = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += H[at(i * n + i)];
  return sum / static_cast<double>(n);
}

std::vector<double> factor_damped(ThreadPool& threads, std::span<const double> H, std::int64_t n,
                                  double mean, double damp, std::span<const std::int64_t> order) {
  for (;; damp = std::max(10 * damp, 1e-8)) {
    std::vector<double> V(at(n * n));
    threads.parallel_for(n, 16, [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t i = begin; i < end; ++i) {
        const double* row = H.data() + order[at(i)] * n;
        for (std::int64_t j = i; j < n; ++j) V[at(i * n + j)] = row[order[at(j)]];
        V[at(i * n + i)] += damp * mean;
      }
    });
    if (factor_upper(threads, V, n)) return V;
  }
}

void subtract(double* x, double delta, const double* row, std::int64_t n) {
  for (std::int64_t k = 0; k < n; ++k) x[k] -= delta * row[k];
}

void residue(const RoundingProblem& p, const RoundedMatrix& m, std::int64_t row, double* out) {
  for (std::int64_t c = 0; c < p.cols; ++c) {
    const std::int64_t i = row * p.cols + c;
    out[c] = static_cast<double>(p.w[at(i)]) - static_cast<double>(p.step(m, row, c)) * m.q[at(i)];
  }
}

void multiply(std::span<const double> H, const double* rows, std::int64_t count, std::int64_t n,
              double* out) {
  std::fill_n(out, count * n, 0.0);
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t r = 0; r < count; ++r) {
      subtract(out + r * n, -rows[r * n + i], H.data() + i * n, n);
    }
  }
}

void refit_steps(const RoundingProblem& p, std::span<const double> H, std::int64_t row,
                 double* gradient, RoundedMatrix& m) {
  const std::int64_t n = p.cols;
  const std::int8_t* q = m.q.data() + row * n;
  for (std::int64_t g = 0; g < p.groups(); ++g) {
    const std::int64_t begin = g * p.format.group, end = begin + p.format.group;
    double slope = 0, curvature = 0;
    for (std::int64_t i = begin; i < end; ++i) {
      if (q[i] == 0) continue;
      double sum = 0;
      const double* of_row = H.data() + i * n;
      for (std::int64_t k = begin; k < end; ++k) sum += of_row[k] * q[k];
      slope += gradient[i] * q[i];
      curvature += sum * q[i];
    }
    if (!(curvature > 0)) continue;
    float& step = m.steps[at(row * p.groups() + g)];
    const float next = representable_step(static_cast<double>(step) + slope / curvature, p.format);
    const double change = static_cast<double>(next) - static_cast<double>(step);
    if (!(change * (change * curvature - 2 * slope) < 0)) continue;
    for (std::int64_t i = begin; i < end; ++i) {
      if (q[i] != 0) subtract(gradient, change * q[i], H.data() + i * n, n);
    }
    step = next;
  }
}

}  // namespace krait
