// Factors of symmetric positive definite matrices, in double precision.
#pragma once

#include <cstdint>
#include <span>

#include "core/thread_pool.h"

namespace krait {

/// a [n, n], of which only the upper triangle is read, becomes V, upper triangular with
/// V V^T = a and a positive diagonal; what is below the diagonal becomes 0. Returns false, and
/// leaves `a` of no use, if a pivot is not positive: `a` is not positive definite in double
/// precision. The same bits for any number of threads. n^3 / 6 multiplications and additions.
bool factor_upper(ThreadPool& threads, std::span<double> a, std::int64_t n);

/// x [n] <- x (V V^T)^-1 for a V of factor_upper().
void solve_upper(std::span<const double> V, std::span<double> x);

}  // namespace krait
