#include "quant/nearest.h"
#include "quant/gptq.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/float16.h"
#include "core/rng.h"
#include "io/test_support.h"
#include "quant/test_rounding.h"

namespace krait {
namespace {

using Matrix = std::vector<double>;

std::vector<float> random_values(std::uint64_t seed, std::int64_t n) {
  Rng rng(seed);
  std::vector<float> values(static_cast<std::size_t>(n));
  for (float& x : values) x = static_cast<float>(rng.uniform() * 2 - 1);
  return values;
}

/// Sum of x x^T over inputs whose channels are correlated and of very different sizes.
Matrix moments(std::int64_t n, std::int64_t tokens, std::uint64_t seed) {
  Rng rng(seed);
  Matrix H(static_cast<std::size_t>(n * n));
  std::vector<double> x(static_cast<std::size_t>(n));
  for (std::int64_t t = 0; t < tokens; ++t) {
    const double common = rng.uniform() - 0.3;
    for (std::size_t i = 0; i < x.size(); ++i) {
      x[i] = (common + rng.uniform() - 0.5) * (1 + static_cast<double>(i * 7 % 11));
    }
    for (std::size_t i = 0; i < H.size(); ++i) H[i] += x[i / x.size()] * x[i % x.size()];
  }
  return H;
}

Matrix identity(std::int64_t n) {
  Matrix H(static_cast<std::size_t>(n * n));
  for (std::int64_t i = 0; i < n; ++i) H[static_cast<std::size_t>(i * n + i)] = 3;
  return H;
}

/// Gauss and Jordan, without pivoting.
Matrix inverse(Matrix a, std::size_t n) {
  Matrix b(n * n);
  for (std::size_t i = 0; i < n; ++i) b[i * n + i] = 1;
  for (std::size_t k = 0; k < n; ++k) {
    const double pivot = a[k * n + k];
    for (std::size_t j = 0; j < n; ++j) {
      a[k * n + j] /= pivot;
      b[k * n + j] /= pivot;
    }
    for (std::size_t i = 0; i < n; ++i) {
      const double factor = a[i * n + k];
      for (std::size_t j = 0; j < n && i != k; ++j) {
        a[i * n + j] -= factor * a[k * n + j];
        b[i * n + j] -= factor * b[k * n + j];
      }
    }
  }
  return b;
}

/// GPTQ as optimal brain surgery states it: after each column the remaining weights move by
/// -(w_q - q) / [H^-1]_qq [H^-1]_q, and the column leaves the inverse by elimination.
std::vector<int> naive_gptq(const std::vector<float>& w, std::size_t rows, std::size_t n, Matrix H,
                            const GptqOptions& options, const IntegerFormat& format,
                            const std::vector<float>& steps) {
  double mean = 0;
  for (std::size_t i = 0; i < n; ++i) mean += H[i * n + i] / static_cast<double>(n);
  std::vector<std::size_t> order(n);
  std::iota(order.begin(), order.end(), std::size_t{0});
  if (options.act_order) {
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return H[a * n + a] > H[b * n + b]; });
  }
  for (std::size_t i = 0; i < n; ++i) H[i * n + i] += options.damp * mean;
  Matrix inverted = inverse(H, n), moved(w.begin(), w.end());
  std::vector<int> q(rows * n);
  const std::size_t group = static_cast<std::size_t>(format.group);
  for (const std::size_t c : order) {
    const double pivot = inverted[c * n + c];
    for (std::size_t r = 0; r < rows; ++r) {
      const double step = steps[r * (n / group) + c / group];
      const double x = std::nearbyint(moved[r * n + c] / step);
      q[r * n + c] = static_cast<int>(std::clamp<double>(x, format.low, format.high));
      const double error = (moved[r * n + c] - step * q[r * n + c]) / pivot;
      for (std::size_t j = 0; j < n; ++j) moved[r * n + j] -= error * inverted[c * n + j];
    }
    const Matrix before = inverted;
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = 0; j < n; ++j) {
        inverted[i * n + j] -= before[i * n + c] * before[c * n + j] / pivot;
      }
    }
  }
  return q;
}

struct Case {
  std::int64_t rows, cols;
  IntegerFormat format;
};

std::vector<Case> cases() {
  return {{5, 24, format_4bit(8)},
          {9, 64, format_4bit(32)},
          {17, 40, format_8bit(Strategy::channel, {}, 17, 40)},
          {6, 33, format_8bit(Strategy::tensor, {}, 6, 33)}};
}

TEST(Gptq, EqualsTheNaiveAlgorithm) {
  ThreadPool pool(2);
  for (const Case& c : cases()) {
    const std::vector<float> w = random_values(1, c.rows * c.cols);
    const Matrix H = moments(c.cols, 3 * c.cols, 2);
    for (const bool act_order : {false, true}) {
      const GptqOptions options{.damp = 0.02, .act_order = act_order, .block = 7};
      const RoundedMatrix made = round_gptq(pool, w, c.rows, c.cols, H, c.format, options, "w");
      const std::vector<int> expected =
          naive_gptq(w, static_cast<std::size_t>(c.rows), static_cast<std::size_t>(c.cols), H,
                     options, c.format, made.steps);
      EXPECT_TRUE(std::equal(made.q.begin(), made.q.end(), expected.begin())) << c.cols;
    }
  }
}

TEST(Gptq, RoundsToTheNearestWhereInputsAreIndependent) {
  ThreadPool pool(1);
  for (const Case& c : cases()) {
    const std::vector<float> w = random_values(3, c.rows * c.cols);
    const RoundedMatrix nearest =
        round_nearest(pool, w, c.rows, c.cols, {}, c.format, StepChoice::absmax);
    for (const Matrix& H : {identity(c.cols), Matrix(identity(c.cols).size()), Matrix()}) {
      const RoundedMatrix made = round_gptq(pool, w, c.rows, c.cols, H, c.format, {}, "w");
      EXPECT_EQ(made.q, nearest.q);
      EXPECT_EQ(made.steps, nearest.steps);
    }
  }
}

TEST(Gptq, LosesLessThanTheNearest) {
  ThreadPool pool(2);
  for (const Case& c : cases()) {
    const std::vector<float> w = random_values(4, c.rows * c.cols);
    const Matrix H = moments(c.cols, 4 * c.cols, 5);
    const auto error = [&](const RoundedMatrix& m) {
      return weighted_error(w, m, c.rows, c.cols, H, c.format);
    };
    const double nearest =
        error(round_nearest(pool, w, c.rows, c.cols, {}, c.format, StepChoice::absmax));
    const double plain = error(round_gptq(pool, w, c.rows, c.cols, H, c.format, {}, "w"));
    const double swept =
        error(round_gptq(pool, w, c.rows, c.cols, H, c.format, {.sweeps = 3}, "w"));
    EXPECT_LT(plain, 0.8 * nearest) << c.cols;
    EXPECT_LT(swept, plain) << c.cols;
  }
}

TEST(Gptq, DoesNotDependOnThreadsOrBlocks) {
  for (const Case& c : cases()) {
    const std::vector<float> w = random_values(6, c.rows * c.cols);
    const Matrix H = moments(c.cols, c.cols / 2, 7);  // singular but for the damping
    RoundedMatrix first;
    for (const int threads : {1, 2, 5}) {
      for (const std::int64_t block : {1, 16, 1000}) {
        ThreadPool pool(threads);
        const GptqOptions options{.block = block, .sweeps = 2, .scale = StepChoice::weighted_mse};
        const RoundedMatrix made = round_gptq(pool, w, c.rows, c.cols, H, c.format, options, "w");
        if (first.q.empty()) first = made;
        EXPECT_EQ(made.q, first.q);
        EXPECT_EQ(made.steps, first.steps);
      }
    }
  }
}

TEST(Gptq, TakesSingularMomentsWithoutDamping) {
  ThreadPool pool(1);
  const std::vector<float> w = random_values(8, 4 * 16);
  const Matrix H = moments(16, 3, 9);
  const RoundedMatrix made = round_gptq(pool, w, 4, 16, H, format_4bit(8), {.damp = 0}, "w");
  const RoundedMatrix nearest =
      round_nearest(pool, w, 4, 16, {}, format_4bit(8), StepChoice::absmax);
  const auto error = [&](const RoundedMatrix& m) {
    return weighted_error(w, m, 4, 16, H, format_4bit(8));
  };
  EXPECT_LT(error(made), error(nearest));
}

TEST(Gptq, RefusesInputsThatAreNotFinite) {
  ThreadPool pool(1);
  Matrix H = identity(8);
  H[9] = std::numeric_limits<double>::infinity();
  const std::vector<float> w(8);
  expect_error([&] { round_gptq(pool, w, 1, 8, H, format_4bit(8), {}, "layer.w"); },
               ErrorCode::bad_data, {"layer.w", "NaN or infinite"});
}

TEST(Corrected, MakesUpForOtherInputs) {
  // y = w x' is wanted, but x = A x' arrives: w A^-1 gives it.
  const std::int64_t n = 12, rows = 3;
  const std::vector<float> w = random_values(10, rows * n);
  const Matrix other = moments(n, 100, 11);  // of x'
  Matrix A = identity(n);
  for (std::int64_t i = 0; i + 1 < n; ++i) A[static_cast<std::size_t>(i * n + i + 1)] = 0.5;
  const auto product = [n](const Matrix& a, const Matrix& b, bool transposed) {
    Matrix c(a.size());
    const auto m = static_cast<std::size_t>(n);
    for (std::size_t i = 0; i < m; ++i) {
      for (std::size_t j = 0; j < m; ++j) {
        for (std::size_t k = 0; k < m; ++k) {
          c[i * m + j] += a[i * m + k] * (transposed ? b[j * m + k] : b[k * m + j]);
        }
      }
    }
    return c;
  };
  const Matrix cross = product(other, A, true);  // x' x^T
  const Matrix own = product(A, cross, false);   // x x^T
  ThreadPool pool(2);
  const std::vector<float> made =
      corrected(pool, w, rows, n, own, missing_outputs(pool, w, rows, n, own, cross), 1e-12);
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t j = 0; j < n; ++j) {
      double back = 0;  // (made A)_j
      for (std::int64_t k = 0; k < n; ++k) {
        back += static_cast<double>(made[static_cast<std::size_t>(r * n + k)]) *
                A[static_cast<std::size_t>(k * n + j)];
      }
      EXPECT_NEAR(back, w[static_cast<std::size_t>(r * n + j)], 1e-5);
    }
  }
}

}  // namespace
}  // namespace krait
