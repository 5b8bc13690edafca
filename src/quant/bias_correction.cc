#include "quant/bias_correction.h"

namespace krait {
namespace {

void add_rows(std::span<const float> x, std::int64_t cols, std::vector<double>& sums) {
  const auto n = static_cast<std::size_t>(cols);
  sums.resize(n);
  for (std::size_t i = 0; i < x.size(); ++i) sums[i % n] += static_cast<double>(x[i]);
}

}  // namespace

void InputSums::add(std::span<const float> x_float, std::span<const float> x_quantized,
                    std::int64_t cols) {
  tokens += std::ssize(x_float) / cols;
  add_rows(x_float, cols, of_float);
  add_rows(x_quantized, cols, of_quantized);
}

std::vector<double> mean_output_error(std::span<const float> w, const RoundedMatrix& rounded,
                                      const IntegerFormat& format, const InputSums& sums) {
  const std::size_t cols = sums.of_float.size();
  const auto group = static_cast<std::size_t>(format.group);
  std::vector<double> error(w.size() / cols);
  for (std::size_t r = 0; r < error.size(); ++r) {
    double sum = 0;
    for (std::size_t c = 0; c < cols; ++c) {
      const std::size_t i = r * cols + c;
      const double weight = static_cast<double>(rounded.steps[i / group]) * rounded.q[i];
      sum += static_cast<double>(w[i]) * sums.of_float[c] - weight * sums.of_quantized[c];
    }
    error[r] = sum / static_cast<double>(sums.tokens);
  }
  return error;
}

}  // namespace krait
