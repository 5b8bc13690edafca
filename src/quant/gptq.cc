#include "quant/gptq.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/check.h"
#include "quant/cholesky.h"
#include "quant/gptq_trellis.h"
#include "quant/nearest.h"
#include "quant/rounding_problem.h"

namespace krait {
namespace {

/// feed [cols, cols]: V_ij / V_jj.
void round_in_order(ThreadPool& threads, const RoundingProblem& p, std::span<const double> feed,
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

/// Sweeps over the integers and steps of one row: each goes to the best value for the others as
/// they are. gradient [cols] = (w - s q) H is kept up to date. `tries_steps`: rows share no steps.
void descend(const RoundingProblem& p, std::span<const double> H, std::int64_t row,
             double* gradient, bool tries_steps, RoundedMatrix& m) {
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
  if (tries_steps) refit_steps(p, H, row, gradient, m);
}

void sweep(ThreadPool& threads, const RoundingProblem& p, std::span<const double> H, int sweeps,
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

GptqOptions gptq_options(const Rounding& rounding) {
  GptqOptions options{.scale = rounding.scale};
  if (rounding.has_float_target()) {
    options.damp = 0.1;
    options.sweeps = 4;
  }
  return options;
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
  if (format.is_trellis()) {
    return round_gptq_trellis(threads, {rows, cols, w, format, {}}, H, options);
  }
  std::vector<double> weights(at(cols), 1.0);
  for (std::int64_t c = 0; c < cols; ++c) weights[at(c)] = diagonal(c);
  RoundedMatrix result{std::vector<std::int8_t>(w.size()), {}};
  result.steps = choose_steps(threads, w, rows, cols, format, options.scale, weights);
  const RoundingProblem problem{rows, cols, w, format, order};

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

}  // namespace krait
