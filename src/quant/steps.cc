#include "quant/steps.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/float16.h"
#include "core/trits.h"
#include "quant/codes.h"

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
  if (!format.has_bf16_steps) {
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

/// The step of the ternary digits with the least error: see choose_steps().
double ternary_step(const float* w, const double* weights, std::int64_t n) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  const auto magnitude = [w](std::int64_t i) { return std::abs(w[i]); };
  std::stable_sort(order.begin(), order.end(),
                   [&](std::int64_t a, std::int64_t b) { return magnitude(a) > magnitude(b); });
  double sum = 0, weight = 0, most = 0, best = 0;
  for (const std::int64_t i : order) {
    const double h = weights ? weights[i] : 1;
    if (!(h > 0)) continue;
    sum += h * static_cast<double>(magnitude(i));
    weight += h;
    const double gain = sum * (sum / weight);  // of the error without any digit
    if (gain <= most) continue;
    most = gain;
    best = sum / weight;
  }
  return best;
}

/// Rows that share steps: parts, or each row alone.
std::vector<std::int64_t> row_runs(const IntegerFormat& format, std::int64_t rows) {
  if (!format.parts.empty()) return format.parts;
  return std::vector<std::int64_t>(static_cast<std::size_t>(rows), 1);
}

}  // namespace

std::int64_t group_within(std::int64_t at_most, std::int64_t cols) {
  std::int64_t group = 1;
  while (group * 2 <= at_most && cols % (group * 2) == 0) group *= 2;
  return group;
}

IntegerFormat format_4bit(std::int64_t group) {
  return {.low = -8, .high = 7, .group = group, .parts = {}, .has_bf16_steps = true, .bits = 4};
}

IntegerFormat format_codes(int bits, Codes codes, std::int64_t group) {
  IntegerFormat format{
      .low = -(1 << (bits - 1)), .high = (1 << (bits - 1)) - 1, .group = group, .parts = {}};
  if (codes == Codes::ternary) format.low = -1;
  if (codes == Codes::trellis) format.low = -127, format.high = 127;
  format.has_bf16_steps = format.is_coded = true;
  format.bits = bits;
  format.codes = codes;
  return format;
}

IntegerFormat format_8bit(Strategy strategy, std::span<const std::int64_t> parts, std::int64_t rows,
                          std::int64_t cols) {
  IntegerFormat format{.group = cols, .parts = {parts.begin(), parts.end()}};
  format.has_one_step = strategy == Strategy::tensor;
  if (format.has_one_step) format.parts = {rows};
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
  return format.has_bf16_steps ? bf16_to_f32(f32_to_bf16(narrow)) : narrow;
}

std::vector<float> choose_steps(ThreadPool& threads, std::span<const float> w, std::int64_t rows,
                                std::int64_t cols, const IntegerFormat& format, StepChoice choice,
                                std::span<const double> weights) {
  const std::int64_t groups = cols / format.group;
  const std::vector<std::int64_t> runs = row_runs(format, rows);
  std::vector<float> steps(static_cast<std::size_t>(rows * groups));
  const double* weight = choice == StepChoice::weighted_mse ? weights.data() : nullptr;
  const bool searches = choice != StepChoice::absmax;

  if (format.codes == Codes::ternary) {
    threads.parallel_for(rows, 1, [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t r = begin; r < end; ++r) {
        for (std::int64_t g = 0; g < groups; ++g) {
          const double* of_group = weight ? weight + g * format.group : nullptr;
          const float* x = w.data() + r * cols + g * format.group;
          steps[static_cast<std::size_t>(r * groups + g)] =
              representable_step(ternary_step(x, of_group, format.group), format);
        }
      }
    });
    return steps;
  }

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

namespace {

Tensor bf16_steps(std::span<const float> steps, std::int64_t rows, std::int64_t groups) {
  Tensor scale(DType::bf16, {rows, groups});
  std::ranges::transform(steps, scale.mutable_as<std::uint16_t>().begin(), f32_to_bf16);
  return scale;
}

/// The own bits of integers: two's complement, which makes 3 of the ternary -1.
std::vector<std::uint8_t> own_bits(std::span<const std::int8_t> q, int bits) {
  std::vector<std::uint8_t> code(q.size());
  std::ranges::transform(q, code.begin(), [bits](std::int8_t x) {
    return static_cast<std::uint8_t>(static_cast<unsigned>(x) & ((1u << bits) - 1));
  });
  return code;
}

}  // namespace

QuantizedTensor pack_rounded(const RoundedMatrix& rounded, const Shape& shape,
                             const IntegerFormat& format) {
  const std::vector<std::int8_t>& q = rounded.q;
  const std::int64_t rows = shape[0], cols = shape.elements() / rows;
  if (format.codes == Codes::ternary) {
    Tensor trits(DType::u8, {trit_bytes(rows * cols)});
    pack_trits(q, trits.mutable_as<std::uint8_t>());
    return {trits, bf16_steps(rounded.steps, rows, cols / format.group)};
  }
  if (format.is_coded) {
    return {pack_codes(format.is_trellis() ? rounded.code : own_bits(q, format.bits), rows, cols,
                       format.bits),
            bf16_steps(rounded.steps, rows, cols / format.group)};
  }
  if (!format.has_bf16_steps) {
    QuantizedTensor result{Tensor(DType::i8, shape),
                           Tensor(DType::f32, format.has_one_step ? Shape{1} : Shape{rows, 1})};
    std::ranges::copy(q, result.q.mutable_as<std::int8_t>().begin());
    std::copy_n(rounded.steps.begin(), result.scale.elements(),
                result.scale.mutable_as<float>().begin());
    return result;
  }
  QuantizedTensor result{Tensor(DType::i32, {rows, cols / 8}),
                         bf16_steps(rounded.steps, rows, cols / format.group)};
  const std::span<std::int32_t> words = result.q.mutable_as<std::int32_t>();
  for (std::size_t i = 0; i < words.size(); ++i) {
    std::uint32_t word = 0;
    for (std::size_t k = 0; k < 8; ++k) {
      word |= static_cast<std::uint32_t>(q[8 * i + k] + 8) << (4 * k);
    }
    words[i] = static_cast<std::int32_t>(word);
  }
  return result;
}

}  // namespace krait
