#include "quant/gptq.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/check.h"
#include "quant/cholesky.h"
#include "quant/trellis.h"

namespace krait {
namespace {

constexpr std::int64_t kRows = 8;  // of the weight that go through V together

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

double mean_diagonal(std::span<const double> H, std::int64_t n) {
  double sum = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += H[at(i * n + i)];
  return sum / static_cast<double>(n);
}

/// V of H + damp * mean, with rows and columns in `order`. Where that is not positive definite in
/// double precision there is ten times the damping, and so on.
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

/// fn(first row, rows) for chunks of at most kRows rows, in parallel; fn owns buffers per call.
template <typename Fn>
void for_row_chunks(ThreadPool& threads, std::int64_t rows, Fn fn) {
  threads.parallel_for((rows + kRows - 1) / kRows, 1,
                       [&](std::int64_t begin, std::int64_t end, int) {
                         for (std::int64_t c = begin; c < end; ++c) {
                           fn(c * kRows, std::min(kRows, rows - c * kRows));
                         }
                       });
}

/// What rounding works on: everything that the rows share.
struct Problem {
  std::int64_t rows, cols;
  std::span<const float> w;
  const IntegerFormat& format;
  std::span<const std::int64_t> order;  // of the columns

  std::int64_t groups() const { return cols / format.group; }
  float step(const RoundedMatrix& m, std::int64_t r, std::int64_t c) const {
    return m.steps[at(r * groups() + c / format.group)];
  }
};

/// feed [cols, cols]: V_ij / V_jj.
void round_in_order(ThreadPool& threads, const Problem& p, std::span<const double> feed,
                    std::int64_t block, RoundedMatrix& result) {
  const std::int64_t n = p.cols;
  for_row_chunks(threads, p.rows, [&](std::int64_t first, std::int64_t count) {
    std::vector<double> want(at(count * n)), error(at(count * n));
    for (std::int64_t r = 0; r < count; ++r) {
      for (std::int64_t j = 0; j < n; ++j) {
        want[at(r * n + j)] = p.w[at((first + r) * n + p.order[at(j)])];
      }
    }
    for (std::int64_t begin = 0; begin < n; begin += block) {
      const std::int64_t end = std::min(n, begin + block);
      for (std::int64_t r = 0; r < count; ++r) {
        for (std::int64_t i = begin; i < end; ++i) {
          const std::int64_t c = p.order[at(i)], row = first + r;
          const float step = p.step(result, row, c);
          const int q = round_to_grid(static_cast<float>(want[at(r * n + i)]), step, p.format);
          result.q[at(row * n + c)] = static_cast<std::int8_t>(q);
          const double e =
              static_cast<double>(p.w[at(row * n + c)]) - static_cast<double>(step) * q;
          error[at(r * n + i)] = e;
          const double* from = feed.data() + i * n;
          double* to = want.data() + r * n;
          for (std::int64_t j = i + 1; j < end; ++j) to[j] += e * from[j];
        }
      }
      for (std::int64_t i = begin; i < end; ++i) {
        const double* from = feed.data() + i * n;
        for (std::int64_t r = 0; r < count; ++r) {
          const double e = error[at(r * n + i)];
          double* to = want.data() + r * n;
          for (std::int64_t j = end; j < n; ++j) to[j] += e * from[j];
        }
      }
    }
  });
}

/// x - delta * (row of H)
void subtract(double* x, double delta, const double* row, std::int64_t n) {
  for (std::int64_t k = 0; k < n; ++k) x[k] -= delta * row[k];
}

/// Sweeps over the integers and steps of one row: each goes to the best value for the others as
/// they are. gradient [cols] = (w - s q) H is kept up to date. `tries_steps`: rows share no steps.
void descend(const Problem& p, std::span<const double> H, std::int64_t row, double* gradient,
             bool tries_steps, RoundedMatrix& m) {
  const std::int64_t n = p.cols;
  std::int8_t* q = m.q.data() + row * n;
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int64_t c = p.order[at(i)];
    const double diagonal = H[at(c * n + c)];
    if (!(diagonal > 0)) continue;
    const float step = p.step(m, row, c);
    const double best = static_cast<double>(step) * q[c] + gradient[c] / diagonal;
    const int next = round_to_grid(static_cast<float>(best), step, p.format);
    if (next == q[c]) continue;
    subtract(gradient, static_cast<double>(step) * (next - q[c]), H.data() + c * n, n);
    q[c] = static_cast<std::int8_t>(next);
  }
  for (std::int64_t g = 0; g < p.groups() && tries_steps; ++g) {
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

/// (w - s q) of a row.
void residue(const Problem& p, const RoundedMatrix& m, std::int64_t row, double* out) {
  for (std::int64_t c = 0; c < p.cols; ++c) {
    const std::int64_t i = row * p.cols + c;
    out[c] = static_cast<double>(p.w[at(i)]) - static_cast<double>(p.step(m, row, c)) * m.q[at(i)];
  }
}

/// out [count, n] = rows [count, n] times the symmetric H.
void multiply(std::span<const double> H, const double* rows, std::int64_t count, std::int64_t n,
              double* out) {
  std::fill_n(out, count * n, 0.0);
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t r = 0; r < count; ++r) {
      subtract(out + r * n, -rows[r * n + i], H.data() + i * n, n);
    }
  }
}

void sweep(ThreadPool& threads, const Problem& p, std::span<const double> H, int sweeps,
           RoundedMatrix& m) {
  const bool tries_steps = p.format.parts.empty();
  for_row_chunks(threads, p.rows, [&](std::int64_t first, std::int64_t count) {
    std::vector<double> e(at(count * p.cols)), gradient(at(count * p.cols));
    for (std::int64_t r = 0; r < count; ++r) residue(p, m, first + r, e.data() + r * p.cols);
    multiply(H, e.data(), count, p.cols, gradient.data());
    for (std::int64_t r = 0; r < count; ++r) {
      for (int k = 0; k < sweeps; ++k) {
        descend(p, H, first + r, gradient.data() + r * p.cols, tries_steps, m);
      }
    }
  });
}

}  // namespace

RoundedMatrix round_nearest(ThreadPool& threads, std::span<const float> w, std::int64_t rows,
                            std::int64_t cols, std::span<const double> weights,
                            const IntegerFormat& format, StepChoice choice) {
  const std::vector<double> same(at(cols), 1.0);
  if (weights.empty()) weights = same;
  if (format.is_trellis()) {
    if (choice != StepChoice::weighted_mse) weights = same;
    RoundedMatrix result;
    result.steps = choose_trellis_steps(threads, w, rows, cols, format, weights);
    encode_nearest(threads, w, rows, cols, format, weights, result);
    return result;
  }
  RoundedMatrix result{std::vector<std::int8_t>(w.size()),
                       choose_steps(threads, w, rows, cols, format, choice, weights)};
  const std::int64_t groups = cols / format.group;
  threads.parallel_for(rows, 1, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t r = begin; r < end; ++r) {
      for (std::int64_t c = 0; c < cols; ++c) {
        const float step = result.steps[at(r * groups + c / format.group)];
        result.q[at(r * cols + c)] =
            static_cast<std::int8_t>(round_to_grid(w[at(r * cols + c)], step, format));
      }
    }
  });
  return result;
}

std::vector<double> missing_outputs(ThreadPool& threads, std::span<const float> w,
                                    std::int64_t rows, std::int64_t cols,
                                    std::span<const double> own, std::span<const double> cross) {
  std::vector<double> result(at(rows * cols));
  for_row_chunks(threads, rows, [&](std::int64_t first, std::int64_t count) {
    for (std::int64_t i = 0; i < cols; ++i) {
      for (std::int64_t r = first; r < first + count; ++r) {
        const auto x = static_cast<double>(w[at(r * cols + i)]);
        double* out = result.data() + r * cols;
        const double *a = cross.data() + i * cols, *b = own.data() + i * cols;
        for (std::int64_t k = 0; k < cols; ++k) out[k] += x * (a[k] - b[k]);
      }
    }
  });
  return result;
}

std::vector<float> corrected(ThreadPool& threads, std::span<const float> w, std::int64_t rows,
                             std::int64_t cols, std::span<const double> H,
                             std::span<const double> missing, double damp) {
  std::vector<std::int64_t> order(at(cols));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  std::vector<float> result(w.begin(), w.end());
  const double mean = mean_diagonal(H, cols);
  if (!(mean > 0)) return result;
  const std::vector<double> V = factor_damped(threads, H, cols, mean, damp, order);
  threads.parallel_for(rows, 1, [&](std::int64_t begin, std::int64_t end, int) {
    std::vector<double> x(at(cols));
    for (std::int64_t r = begin; r < end; ++r) {
      std::copy_n(missing.begin() + r * cols, cols, x.begin());
      solve_upper(V, x);
      for (std::int64_t c = 0; c < cols; ++c) {
        float& value = result[at(r * cols + c)];
        value = static_cast<float>(static_cast<double>(value) + x[at(c)]);
      }
    }
  });
  return result;
}

RoundedMatrix round_gptq(ThreadPool& threads, std::span<const float> w, std::int64_t rows,
                         std::int64_t cols, std::span<const double> H, const IntegerFormat& format,
                         const GptqOptions& options, std::string_view name) {
  const double mean = H.empty() ? 0 : mean_diagonal(H, cols);
  check(std::isfinite(mean), ErrorCode::bad_data, "calibration saw NaN or infinite inputs of {}",
        name);
  std::vector<std::int64_t> order(at(cols));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  const auto diagonal = [&](std::int64_t c) { return H[at(c * cols + c)]; };
  if (mean <= 0) return round_nearest(threads, w, rows, cols, {}, format, options.scale);
  if (options.act_order) {
    std::stable_sort(order.begin(), order.end(),
                     [&](std::int64_t a, std::int64_t b) { return diagonal(a) > diagonal(b); });
  }
  std::vector<double> weights(at(cols), 1.0);
  for (std::int64_t c = 0; c < cols; ++c) weights[at(c)] = diagonal(c);
  RoundedMatrix result{std::vector<std::int8_t>(w.size()), {}};
  result.steps = choose_steps(threads, w, rows, cols, format, options.scale, weights);
  const Problem problem{rows, cols, w, format, order};

  std::vector<double> feed = factor_damped(threads, H, cols, mean, options.damp, order);
  std::vector<double> pivots(at(cols));
  for (std::int64_t j = 0; j < cols; ++j) pivots[at(j)] = feed[at(j * cols + j)];
  threads.parallel_for(cols, 16, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t i = begin; i < end; ++i) {
      for (std::int64_t j = i; j < cols; ++j) feed[at(i * cols + j)] /= pivots[at(j)];
    }
  });
  round_in_order(threads, problem, feed, options.block, result);
  if (options.sweeps > 0) {
    std::vector<double> damped(H.begin(), H.end());
    for (std::int64_t c = 0; c < cols; ++c) damped[at(c * cols + c)] += options.damp * mean;
    sweep(threads, problem, damped, options.sweeps, result);
  }
  return result;
}

double weighted_error(ThreadPool& threads, std::span<const float> w, const RoundedMatrix& rounded,
                      std::int64_t rows, std::int64_t cols, std::span<const double> H,
                      const IntegerFormat& format) {
  const Problem problem{rows, cols, w, format, {}};
  std::vector<double> of_row(at(rows));
  for_row_chunks(threads, rows, [&](std::int64_t first, std::int64_t count) {
    std::vector<double> e(at(count * cols)), gradient(at(count * cols));
    for (std::int64_t r = 0; r < count; ++r)
      residue(problem, rounded, first + r, e.data() + r * cols);
    multiply(H, e.data(), count, cols, gradient.data());
    for (std::int64_t r = 0; r < count; ++r) {
      of_row[at(first + r)] = std::inner_product(e.begin() + r * cols, e.begin() + (r + 1) * cols,
                                                 gradient.begin() + r * cols, 0.0);
    }
  });
  return std::accumulate(of_row.begin(), of_row.end(), 0.0);
}

}  // namespace krait
