#include "runtime/softmax.h"

#include <algorithm>
#include <cmath>

namespace krait {

double log_sum_exp(std::span<const float> x) noexcept {
  const double largest = *std::max_element(x.begin(), x.end());
  double sum = 0;
  for (float value : x) sum += std::exp(value - largest);
  return largest + std::log(sum);
}

double kl_divergence(std::span<const float> p, double p_lse, std::span<const float> q,
                     double q_lse) noexcept {
  double sum = 0;
  for (std::size_t i = 0; i < p.size(); ++i) {
    const double log_p = p[i] - p_lse;
    sum += std::exp(log_p) * (log_p - (q[i] - q_lse));
  }
  return std::max(sum, 0.0);
}

std::int64_t argmax(std::span<const float> x) noexcept {
  return std::max_element(x.begin(), x.end()) - x.begin();
}

}  // namespace krait
