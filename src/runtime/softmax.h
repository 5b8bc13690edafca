// Log-probabilities of rows of logits in double precision.
#pragma once

#include <cstdint>
#include <span>

namespace krait {

/// ln sum_i exp(x_i), with the largest taken out. x is not empty.
double log_sum_exp(std::span<const float> x) noexcept;

/// KL(p || q) = sum_i p_i (ln p_i - ln q_i) of the softmax of two rows of logits, given their
/// log_sum_exp. At least 0, and exactly 0 for equal rows.
double kl_divergence(std::span<const float> p, double p_lse, std::span<const float> q,
                     double q_lse) noexcept;

/// The first index of the largest element.
std::int64_t argmax(std::span<const float> x) noexcept;

}  // namespace krait
