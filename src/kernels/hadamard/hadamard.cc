#include "kernels/hadamard/hadamard.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <vector>

#include "kernels/cpu_operations.h"
#include "kernels/hadamard/hadamard_kernels.h"
#include "kernels/quantize/quantize.h"

namespace krait {
namespace {

template <int order>
using Signs = std::array<float, static_cast<std::size_t>(order) * order>;

/// 0 for multiples of the prime q, 1 for squares modulo q, -1 otherwise.
constexpr int legendre(int a, int q) {
  a = (a % q + q) % q;
  if (a == 0) return 0;
  for (int x = 1; x < q; ++x) {
    if (x * x % q == a) return 1;
  }
  return -1;
}

/// Element of Paley's core bordered by ones, S[0][0] = 0, S[0][j] = 1, S[i][0] = border,
/// S[i][j] = legendre(i - j).
constexpr int bordered_core(int i, int j, int q, int border) {
  if (i == 0) return j == 0 ? 0 : 1;
  return j == 0 ? border : legendre(i - j, q);
}

/// Paley's first construction, q = 3 modulo 4: H = I + S with border -1 (S is skew).
template <int q>
constexpr Signs<q + 1> paley_one() {
  Signs<q + 1> h{};
  std::size_t next = 0;
  for (int i = 0; i <= q; ++i) {
    for (int j = 0; j <= q; ++j) {
      h[next++] = static_cast<float>((i == j) + bordered_core(i, j, q, -1));
    }
  }
  return h;
}

/// Paley's second construction, q = 1 modulo 4: with border +1 (S is symmetric), every element s of
/// S becomes s [[1, 1], [1, -1]] and the zeros of the diagonal [[1, -1], [-1, -1]].
template <int q>
constexpr Signs<2 * (q + 1)> paley_two() {
  constexpr int n = 2 * (q + 1);
  Signs<n> h{};
  std::size_t next = 0;
  for (int i = 0; i < n; ++i) {
    for (int j = 0; j < n; ++j) {
      const int s = bordered_core(i / 2, j / 2, q, 1);
      const int odd = i % 2 + j % 2;
      h[next++] = static_cast<float>(s ? (odd == 2 ? -s : s) : (odd == 0 ? 1 : -1));
    }
  }
  return h;
}

template <int order>
constexpr Signs<order> transposed(const Signs<order>& h) {
  Signs<order> result{};
  for (std::size_t i = 0; i < h.size(); ++i) result[i % order * order + i / order] = h[i];
  return result;
}

constexpr Signs<12> kSigns12 = paley_one<11>();
constexpr Signs<20> kSigns20 = paley_one<19>();
constexpr Signs<28> kSigns28 = paley_two<13>();  // symmetric, as Sylvester's
constexpr Signs<12> kTransposed12 = transposed<12>(kSigns12);
constexpr Signs<20> kTransposed20 = transposed<20>(kSigns20);

/// block = m * length with the matrix of order m; m = 0 if the block is not supported.
struct Factors {
  std::int64_t m, length;
  const float* signs;
};

Factors factors_of(std::int64_t block) noexcept {
  if (block < 1) return {0, 0, nullptr};
  const std::int64_t power = block & -block;
  const auto times = [&](std::int64_t m, const float* signs) -> Factors {
    return power % 4 == 0 ? Factors{m, power / 4, signs} : Factors{0, 0, nullptr};
  };
  switch (block / power) {
    case 1:
      return {1, power, nullptr};
    case 3:
      return times(12, kSigns12.data());
    case 5:
      return times(20, kSigns20.data());
    case 7:
      return times(28, kSigns28.data());
    default:
      return {0, 0, nullptr};
  }
}

float factor_of(std::int64_t block) {
  return static_cast<float>(1.0 / std::sqrt(static_cast<double>(block)));
}

constexpr std::int64_t kElementsPerTask = 4096;

}  // namespace

bool hadamard_supported(std::int64_t block) noexcept { return factors_of(block).m > 0; }

std::int64_t largest_hadamard_block(std::int64_t n) noexcept {
  if (n < 1) return 1;
  const std::int64_t power = n & -n;
  for (std::int64_t odd : {7, 5, 3}) {
    if (power % 4 == 0 && n % odd == 0) return odd * power;
  }
  return power;
}

void cpu::hadamard(Context& ctx, const Activation& x, std::int64_t block, const Activation& y) {
  const Factors factors = factors_of(block);
  assert(x.dtype == DType::f32 && x.rows == y.rows && x.cols == y.cols);
  assert(factors.m > 0 && x.cols % block == 0);
  const bool spans_rows = y.dtype == DType::i8 && y.dynamic && y.strategy == Strategy::tensor;
  const std::int64_t grain = std::max<std::int64_t>(1, kElementsPerTask / x.cols);
  ctx.threads.parallel_for(x.rows, grain, [&](std::int64_t begin, std::int64_t end, int) {
    Activation in = x;
    for (std::int64_t t = begin; t < end; ++t) {
      float* row = in.f32(t);
      for (std::int64_t c = 0; c < x.cols && block > 1; c += block) {
        ctx.kernels.hadamard->transform(row + c, factors.m, factors.length, factors.signs,
                                        factor_of(block));
      }
      if (!spans_rows) store_row(*ctx.kernels.quantize, row, y, t);
    }
  });
  if (spans_rows) cpu::quantize(ctx, x, y);
}

void cpu::hadamard_inverse(Context& ctx, const Activation& x, std::int64_t block) {
  Factors factors = factors_of(block);
  if (factors.m == 12) factors.signs = kTransposed12.data();
  if (factors.m == 20) factors.signs = kTransposed20.data();
  assert(x.dtype == DType::f32 && factors.m > 0 && x.cols % block == 0);
  const std::int64_t grain = std::max<std::int64_t>(1, kElementsPerTask / x.cols);
  ctx.threads.parallel_for(x.rows, grain, [&](std::int64_t begin, std::int64_t end, int) {
    Activation in = x;
    for (std::int64_t t = begin; t < end; ++t) {
      for (std::int64_t c = 0; c < x.cols && block > 1; c += block) {
        ctx.kernels.hadamard->transform(in.f32(t) + c, factors.m, factors.length, factors.signs,
                                        factor_of(block));
      }
    }
  });
}

void hadamard_row(std::span<double> row, std::int64_t block) {
  const auto [m, length, signs] = factors_of(block);
  assert(m > 0 && std::ssize(row) % block == 0);
  const double factor = 1.0 / std::sqrt(static_cast<double>(block));
  std::vector<double> in(static_cast<std::size_t>(m));
  for (double* x = row.data(); x < row.data() + row.size(); x += block) {
    for (std::int64_t stride = 1; stride < length; stride *= 2) {
      for (std::int64_t j = 0; j < block; ++j) {
        if (j & stride) continue;
        const double a = x[j], b = x[j + stride];
        x[j] = a + b;
        x[j + stride] = a - b;
      }
    }
    for (std::int64_t j = 0; j < length; ++j) {
      for (std::int64_t c = 0; c < m; ++c) in[static_cast<std::size_t>(c)] = x[c * length + j];
      for (std::int64_t i = 0; i < m; ++i) {
        double sum = 0;
        for (std::int64_t c = 0; c < m; ++c) {
          sum += (m > 1 ? static_cast<double>(signs[i * m + c]) : 1.0) *
                 in[static_cast<std::size_t>(c)];
        }
        x[i * length + j] = sum * factor;
      }
    }
  }
}

}  // namespace krait
