#include "quant/steps.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/float16.h"

namespace krait {
namespace {

constexpr int kCandidates = 66;

/// Half to even, for values that an int holds: adding 1.5 * 2^23 leaves no bits below one.
float rne(float x) {
  constexpr float kMagic = 0x1.8p23f;
  return (x + kMagic) - kMagic;
}

/// The step that the largest weights need.
double largest_step(float low, float high, const IntegerFormat& format) {
  if (!format.is_4bit) {
    const float most = std::max(high, -low);
    return most < 1e-30f ? 0 : static_cast<double>(most) / format.high;
  }
  return std::max(static_cast<double>(high) / (format.high + 0.5),
                  -static_cast<double>(low) / (0.5 - format.low));
}

/// sum of weight (w - s q)^2 over n columns; a null `weights` is all ones.
double rounding_error(const float* w, const double* weights, std::int64_t n, float step,
                      const IntegerFormat& format) {
  const auto low = static_cast<float>(format.low), high = static_cast<float>(format.high);
  double sum = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const float q = rne(std::clamp(w[i] / step, low, high));
    const double e = static_cast<double>(w[i]) - static_cast<double>(step) * static_cast<double>(q);
    sum += weights ? weights[i] * (e * e) : e * e;
  }
  return sum;
}

/// Rows that share steps: parts, or each row alone.
std::vector<std::int64_t> row_runs(const IntegerFormat& format, std::int64_t rows) {
  if (!format.parts.empty()) return format.parts;
  return std::vector<std::int64_t>(static_cast<std::size_t>(rows), 1);
}

}  // namespace

IntegerFormat format_4bit(std::int64_t group) {
  return {.low = -8, .high = 7, .group = group, .parts = {}, .is_4bit = true};
}

IntegerFormat format_8bit(Strategy strategy, std::span<const std::int64_t> parts, std::int64_t rows,
                          std::int64_t cols) {
  IntegerFormat format{.group = cols, .parts = {parts.begin(), parts.end()}};
  if (strategy == Strategy::tensor) format.parts = {rows};
  return format;
}

int round_to_grid(float x, float step, const IntegerFormat& format) {
  const float q =
      std::clamp(x / step, static_cast<float>(format.low), static_cast<float>(format.high));
  return static_cast<int>(rne(q));
}

float representable_step(double step, const IntegerFormat& format) {
  if (!(step >= 1e-32)) return 1.0f;
  const auto narrow = static_cast<float>(step);
  return format.is_4bit ? bf16_to_f32(f32_to_bf16(narrow)) : narrow;
}

std::vector<float> choose_steps(ThreadPool& threads, std::span<const float> w, std::int64_t rows,
                                std::int64_t cols, const IntegerFormat& format, StepChoice choice,
                                std::span<const double> weights) {
  const std::int64_t groups = cols / format.group;
  const std::vector<std::int64_t> runs = row_runs(format, rows);
  std::vector<float> steps(static_cast<std::size_t>(rows * groups));
  const double* weight = choice == StepChoice::weighted_mse ? weights.data() : nullptr;
  const bool searches = choice != StepChoice::absmax;

  // Of each row and group: the range, then the errors of all candidates.
  struct Range {
    float low = 0, high = 0;
  };
  std::vector<Range> ranges(steps.size());
  const auto place = [&](std::int64_t r, std::int64_t g) {
    return static_cast<std::size_t>(r * groups + g);
  };
  threads.parallel_for(rows, 1, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t r = begin; r < end; ++r) {
      for (std::int64_t g = 0; g < groups; ++g) {
        const float* x = w.data() + r * cols + g * format.group;
        const auto [low, high] = std::minmax_element(x, x + format.group);
        ranges[place(r, g)] = {*low, *high};
      }
    }
  });
  std::int64_t first = 0;
  for (const std::int64_t count : runs) {
    for (std::int64_t g = 0; g < groups; ++g) {
      Range all;
      for (std::int64_t r = first; r < first + count; ++r) {
        all.low = std::min(all.low, ranges[place(r, g)].low);
        all.high = std::max(all.high, ranges[place(r, g)].high);
      }
      const float step = representable_step(largest_step(all.low, all.high, format), format);
      for (std::int64_t r = first; r < first + count; ++r) steps[place(r, g)] = step;
    }
    first += count;
  }
  if (!searches) return steps;

  const auto candidate = [&](float largest, int k) {
    return representable_step(static_cast<double>(largest) * (100 - k) / 100, format);
  };
  const bool shares_rows = !format.parts.empty();
  std::vector<double> errors(shares_rows ? steps.size() * kCandidates : 0);
  threads.parallel_for(rows, 1, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t r = begin; r < end; ++r) {
      for (std::int64_t g = 0; g < groups; ++g) {
        const float* x = w.data() + r * cols + g * format.group;
        const double* of_group = weight ? weight + g * format.group : nullptr;
        const float largest = steps[place(r, g)];
        double least = 0;
        for (int k = 0; k < kCandidates; ++k) {
          const float step = candidate(largest, k);
          const double error = rounding_error(x, of_group, format.group, step, format);
          if (shares_rows) errors[place(r, g) * kCandidates + static_cast<std::size_t>(k)] = error;
          if (!shares_rows && (k == 0 || error < least)) {
            least = error;
            steps[place(r, g)] = step;
          }
        }
      }
    }
  });
  if (!shares_rows) return steps;
  first = 0;
  for (const std::int64_t count : runs) {
    for (std::int64_t g = 0; g < groups && count > 0; ++g) {
      const float largest = steps[place(first, g)];
      float best = largest;
      double least = 0;
      for (int k = 0; k < kCandidates; ++k) {
        double error = 0;
        for (std::int64_t r = first; r < first + count; ++r) {
          error += errors[place(r, g) * kCandidates + static_cast<std::size_t>(k)];
        }
        if (k == 0 || error < least) {
          least = error;
          best = candidate(largest, k);
        }
      }
      for (std::int64_t r = first; r < first + count; ++r) steps[place(r, g)] = best;
    }
    first += count;
  }
  return steps;
}

QuantizedTensor pack_integers(std::span<const std::int8_t> q, std::span<const float> steps,
                              std::int64_t rows, std::int64_t cols, const IntegerFormat& format,
                              Strategy strategy) {
  if (!format.is_4bit) {
    const bool by_row = strategy == Strategy::channel;
    QuantizedTensor result{Tensor(DType::i8, {rows, cols}),
                           by_row ? Tensor(DType::f32, {rows, 1}) : Tensor(DType::f32, {1})};
    std::ranges::copy(q, result.q.mutable_as<std::int8_t>().begin());
    std::copy_n(steps.begin(), result.scale.elements(), result.scale.mutable_as<float>().begin());
    return result;
  }
  QuantizedTensor result{Tensor(DType::i32, {rows, cols / 8}),
                         Tensor(DType::bf16, {rows, cols / format.group})};
  const std::span<std::int32_t> words = result.q.mutable_as<std::int32_t>();
  for (std::size_t i = 0; i < words.size(); ++i) {
    std::uint32_t word = 0;
    for (std::size_t k = 0; k < 8; ++k) {
      word |= static_cast<std::uint32_t>(q[8 * i + k] + 8) << (4 * k);
    }
    words[i] = static_cast<std::int32_t>(word);
  }
  std::ranges::transform(steps, result.scale.mutable_as<std::uint16_t>().begin(), f32_to_bf16);
  return result;
}

}  // namespace krait
