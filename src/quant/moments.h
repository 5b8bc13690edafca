// Second moments of the inputs of products, summed over calibration samples.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "kernels/context.h"

namespace krait {

/// Sums of x x^T, and of x' x^T for inputs x' of another model, in double precision: products of up
/// to a sample's tokens in f32 (linear(), so that the bits depend on no thread or machine) are
/// added up.
struct Moments {
  std::int64_t cols = 0, tokens = 0;
  std::vector<double> own;    ///< [cols, cols]: sum of x x^T
  std::vector<double> cross;  ///< [n, cols]: sum of y x^T for another value y [n], or empty

  void add(Context& ctx, std::span<const float> x);  ///< [tokens, cols]
  /// The same tokens in both.
  void add_cross(Context& ctx, std::span<const float> y, std::span<const float> x);
};

/// out [n, m] += a^T b for a [tokens, n] and b [tokens, m].
void add_product(Context& ctx, std::span<const float> a, std::span<const float> b,
                 std::int64_t tokens, std::vector<double>& out);

/// An input of a product as f32 [rows, cols], integers and outliers put together.
std::vector<float> widened(const Activation& x);

}  // namespace krait
