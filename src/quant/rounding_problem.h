// What rounding that looks at the inputs works on, for integers and for words of codes.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "core/thread_pool.h"
#include "quant/steps.h"

namespace krait {

inline std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

/// Everything that the rows share.
struct RoundingProblem {
  std::int64_t rows, cols;
  std::span<const float> w;
  const IntegerFormat& format;
  std::span<const std::int64_t> order;  ///< of the columns

  std::int64_t groups() const { return cols / format.group; }
  float step(const RoundedMatrix& m, std::int64_t r, std::int64_t c) const {
    return m.steps[at(r * groups() + c / format.group)];
  }
};

double mean_diagonal(std::span<const double> H, std::int64_t n);

/// V of H + damp * mean, with rows and columns in `order`. Where that is not positive definite in
/// double precision there is ten times the damping, and so on.
std::vector<double> factor_damped(ThreadPool& threads, std::span<const double> H, std::int64_t n,
                                  double mean, double damp, std::span<const std::int64_t> order);

/// x - delta * (row of H)
void subtract(double* x, double delta, const double* row, std::int64_t n);

/// (w - s q) of a row.
void residue(const RoundingProblem& p, const RoundedMatrix& m, std::int64_t row, double* out);

/// out [count, n] = rows [count, n] times the symmetric H.
void multiply(std::span<const double> H, const double* rows, std::int64_t count, std::int64_t n,
              double* out);

/// The steps of one row go to their least squares values for everything else as it is. gradient
/// [cols] = (w - s q) H is kept up to date.
void refit_steps(const RoundingProblem& p, std::span<const double> H, std::int64_t row,
                 double* gradient, RoundedMatrix& m);

/// Rows of a weight that go through V together.
constexpr std::int64_t kRowsTogether = 8;

/// fn(first row, rows) for chunks of at most kRowsTogether rows, in parallel; fn owns buffers per
/// call.
template <typename Fn>
void for_row_chunks(ThreadPool& threads, std::int64_t rows, Fn fn) {
  const std::int64_t chunks = (rows + kRowsTogether - 1) / kRowsTogether;
  threads.parallel_for(chunks, 1, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t c = begin; c < end; ++c) {
      fn(c * kRowsTogether, std::min(kRowsTogether, rows - c * kRowsTogether));
    }
  });
}

}  // namespace krait
