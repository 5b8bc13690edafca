#include "eval/windows.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"

namespace krait {

Mean mean_of(std::span<const double> values) {
  const auto n = static_cast<double>(values.size());
  double sum = 0, squares = 0;
  for (double x : values) sum += x;
  const double mean = values.empty() ? 0 : sum / n;
  for (double x : values) squares += (x - mean) * (x - mean);
  return {mean, n > 1 ? std::sqrt(squares / (n - 1) / n) : 0};
}

double quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  const double rank = q * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::size_t>(rank);
  const std::size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (rank - static_cast<double>(below)) * (values[above] - values[below]);
}

void for_each_window(std::span<const std::int32_t> ids, std::int64_t seq_len,
                     const ProgressFn& progress,
                     const std::function<void(std::span<const std::int32_t>)>& fn) {
  check(seq_len >= 2, ErrorCode::invalid_argument,
        "windows of at least 2 tokens are needed, got {}", seq_len);
  check(ids.size() >= 2, ErrorCode::invalid_argument,
        "at least 2 tokens are needed to predict one from another, got {}", ids.size());
  Progress report{"evaluate", 0, static_cast<std::int64_t>(ids.size()), "tokens"};
  while (ids.size() >= 2) {
    if (progress) progress(report);
    const std::size_t length = std::min(ids.size(), static_cast<std::size_t>(seq_len));
    fn(ids.first(length));
    ids = ids.subspan(length);
    report.done += static_cast<std::int64_t>(length);
  }
  if (progress) progress(report);
}

}  // namespace krait
