#include "quant/trellis.h"

#include <algorithm>
#include <cmath>

#include "quant/codes.h"
#include "quant/rounding_problem.h"

namespace krait {
namespace {

constexpr float kNever = 1e30f;

/// The trellis of codes of kBits. States are overlaps of neighbouring windows; the windows of a new
/// state n are n << kBits | low, each of which continues the state of its lower bits.
template <int kBits>
class Encoder {
 public:
  static constexpr int kStates = 1 << (6 - kBits), kLows = 1 << kBits;
  static constexpr int kColumns = static_cast<int>(word_columns(kBits)), kWeights = 2 * kColumns;
  using Costs = std::array<float, kStates>;

  Encoder(const WordTarget& target, const WordNorm& norm) : norm_(norm) {
    const std::span<const std::int8_t, 64> table = code_table(kBits, Codes::trellis);
    for (int low = 0; low < kLows; ++low) {
      for (int n = 0; n < kStates; ++n) table_[low][n] = table[at(n << kBits | low)];
    }
    for (std::size_t r = 0; r < 2; ++r) {
      const float step = target.step[r], inverse = step > 0 ? 1 / step : 0;
      for (std::size_t j = 0; j < kColumns; ++j) {
        w_[r][j] = target.w[r][j] * inverse;
        want_[r][j] = target.want[r][j] * inverse;
        weight_[r][j] = norm.weight[j] * step * step;
      }
    }
  }

  EncodedWord encode(Closing closing) {
    EncodedWord best;
    best.error = kNever;
    if (closing == Closing::every) {
      for (int c = 0; c < kStates; ++c) try_closed(c, best);
      return best;
    }
    Costs costs{};
    run(costs);
    if (closing == Closing::open) {
      const auto last = std::min_element(costs.begin(), costs.end());
      best.error = *last;
      trace(static_cast<int>(last - costs.begin()), best);
      return best;
    }
    const float least = *std::min_element(costs.begin(), costs.end());
    for (float& cost : costs) cost -= least;
    run(costs);
    const auto last =
        static_cast<int>(std::min_element(costs.begin(), costs.end()) - costs.begin());
    try_closed(first_of(last), best);
    return best;
  }

 private:
  void try_closed(int c, EncodedWord& best) {
    Costs costs;
    costs.fill(kNever);
    costs[at(c)] = 0;
    run(costs);
    if (!(costs[at(c)] < best.error)) return;
    best.error = costs[at(c)];
    trace(c, best);
  }

  /// The word of the path to `state`.
  void trace(int state, EncodedWord& best) const {
    for (int i = kWeights; i-- > 0;) {
      const int window = windows_[i][state];
      const auto r = static_cast<std::size_t>(i % 2), j = static_cast<std::size_t>(i / 2);
      best.code[r][j] = static_cast<std::uint8_t>(window & (kLows - 1));
      best.q[r][j] = static_cast<std::int8_t>(table_[window & (kLows - 1)][window >> kBits]);
      state = window & (kStates - 1);
    }
  }

  /// The state that the path to `state` began with.
  int first_of(int state) const {
    for (int i = kWeights; i-- > 0;) state = windows_[i][state] & (kStates - 1);
    return state;
  }

  void run(Costs& costs) {
    if (norm_.has_feed) {
      run_fed(costs);
    } else {
      for (int i = 0; i < kWeights; ++i) {
        Costs values;
        values.fill(want_[i % 2][i / 2]);
        step(i, values, costs);
      }
    }
  }

  /// One weight: the best window into every state. values: what each survivor wants.
  void step(int i, const Costs& values, Costs& costs) {
    const float weight = weight_[i % 2][i / 2];
    Costs best;
    best.fill(2 * kNever);
    std::array<std::int32_t, kStates> lows{};
    for (int low = 0; low < kLows; ++low) {
      for (int n = 0; n < kStates; ++n) {
        const auto to = static_cast<std::size_t>(n);
        const auto from = static_cast<std::size_t>((n << kBits | low) & (kStates - 1));
        const float e = values[from] - table_[low][n];
        const float cost = costs[from] + weight * (e * e);
        const bool is_better = cost < best[to];
        best[to] = is_better ? cost : best[to];
        lows[to] = is_better ? low : lows[to];
      }
    }
    for (int n = 0; n < kStates; ++n) {
      windows_[i][n] = static_cast<std::uint8_t>(n << kBits | lows[at(n)]);
    }
    costs = best;
  }

  /// Survivors carry the targets of the columns to come.
  void run_fed(Costs& costs) {
    using Targets = float[kStates][2][kColumns];
    alignas(64) Targets buffers[2];
    for (auto& survivor : buffers[0]) {
      for (int r = 0; r < 2; ++r) std::copy_n(want_[r], kColumns, survivor[r]);
    }
    for (int i = 0; i < kWeights; ++i) {
      const int r = i % 2, j = i / 2;
      const Targets& old = buffers[i % 2];
      Targets& next = buffers[1 - i % 2];
      Costs values;
      for (int n = 0; n < kStates; ++n) values[at(n)] = old[n][r][j];
      step(i, values, costs);
      const float* feed = norm_.feed[at(j)].data();
      for (int n = 0; n < kStates; ++n) {
        const int window = windows_[i][n];
        const auto& from = old[window & (kStates - 1)];
        const float e = w_[r][j] - table_[window & (kLows - 1)][n];
        for (int k = 0; k < kColumns; ++k) next[n][1 - r][k] = from[1 - r][k];
        for (int k = 0; k < kColumns; ++k) next[n][r][k] = from[r][k] + e * feed[k];
      }
    }
  }

  const WordNorm& norm_;
  float table_[kLows][kStates];
  float w_[2][kColumns], want_[2][kColumns], weight_[2][kColumns];  // by the rows' steps
  std::uint8_t windows_[kWeights][kStates];                         // the best one into a state
};

/// fn(first row, rows: 2 or 1) in parallel.
template <typename Fn>
void for_row_pairs(ThreadPool& threads, std::int64_t rows, Fn fn) {
  threads.parallel_for((rows + 1) / 2, 1, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t pair = begin; pair < end; ++pair) {
      fn(2 * pair, std::min<std::int64_t>(2, rows - 2 * pair));
    }
  });
}

/// A group of two rows, its words side by side.
class Group {
 public:
  Group(std::span<const float> w, std::int64_t first, std::int64_t count, std::int64_t cols,
        std::int64_t begin, const IntegerFormat& format, std::span<const double> weights)
      : format_(format), count_(static_cast<std::size_t>(count)) {
    const std::int64_t width = word_columns(format.bits);
    for (std::int64_t c = begin; c < begin + format.group; c += width) {
      WordTarget& target = targets_.emplace_back();
      WordNorm& norm = norms_.emplace_back();
      for (std::size_t r = 0; r < count_; ++r) {
        std::copy_n(w.begin() + (first + static_cast<std::int64_t>(r)) * cols + c, width,
                    target.want[r].begin());
        target.w[r] = target.want[r];
      }
      std::transform(weights.begin() + c, weights.begin() + c + width, norm.weight.begin(),
                     [](double x) { return static_cast<float>(x); });
    }
    words_.resize(targets_.size());
  }

  double mean_square(std::size_t r) const {
    double sum = 0;
    for (const WordTarget& target : targets_) {
      for (const float x : target.want[r]) sum += static_cast<double>(x) * static_cast<double>(x);
    }
    return sum / static_cast<double>(format_.group);
  }

  /// The error with these steps.
  double encode(const std::array<float, 2>& steps, Closing closing) {
    double error = 0;
    for (std::size_t i = 0; i < targets_.size(); ++i) {
      targets_[i].step = steps;
      words_[i] = encode_word(format_.bits, targets_[i], norms_[i], closing);
      error += static_cast<double>(words_[i].error);
    }
    return error;
  }

  /// The least squares step of a row for what was encoded last, 0 if it is nothing.
  double fitting_step(std::size_t r) const {
    double xq = 0, qq = 0;
    const auto width = static_cast<std::size_t>(word_columns(format_.bits));
    for (std::size_t i = 0; i < targets_.size(); ++i) {
      for (std::size_t j = 0; j < width; ++j) {
        const auto h = static_cast<double>(norms_[i].weight[j]);
        const double q = words_[i].q[r][j];
        xq += h * q * static_cast<double>(targets_[i].want[r][j]);
        qq += h * q * q;
      }
    }
    return qq > 0 ? xq / qq : 0;
  }

  const std::vector<EncodedWord>& words() const { return words_; }

 private:
  const IntegerFormat& format_;
  std::size_t count_;
  std::vector<WordTarget> targets_;
  std::vector<WordNorm> norms_;
  std::vector<EncodedWord> words_;
};

/// A group of zeros has entries too, so its step is next to nothing.
float trellis_step(double step, const IntegerFormat& format) {
  constexpr float kTiny = 0x1p-100f;
  return step > static_cast<double>(kTiny) ? representable_step(step, format) : kTiny;
}

constexpr double kFactors[] = {0.8, 0.95, 1.1, 1.3, 1.6};

std::array<float, 2> best_steps(Group& group, std::size_t count, const IntegerFormat& format) {
  const double unit = code_unit(format.bits, Codes::trellis);
  const double deviation[2] = {std::sqrt(group.mean_square(0)), std::sqrt(group.mean_square(1))};
  std::array<float, 2> best{};
  double least = 0;
  const auto consider = [&](const std::array<float, 2>& steps) {
    const double error = group.encode(steps, Closing::open);
    if (best[0] > 0 && !(error < least)) return false;
    least = error;
    best = steps;
    return true;
  };
  std::array<float, 2> fitting{};
  for (const double factor : kFactors) {
    std::array<float, 2> steps{};
    for (std::size_t r = 0; r < count; ++r) {
      steps[r] = trellis_step(factor * deviation[r] / unit, format);
    }
    if (!consider(steps)) continue;
    for (std::size_t r = 0; r < count; ++r) {
      fitting[r] = trellis_step(group.fitting_step(r), format);
    }
  }
  for (int k = 0; k < 3 && consider(fitting); ++k) {
    for (std::size_t r = 0; r < count; ++r) {
      fitting[r] = trellis_step(group.fitting_step(r), format);
    }
  }
  return best;
}

}  // namespace

EncodedWord encode_word(int bits, const WordTarget& target, const WordNorm& norm, Closing closing) {
  switch (bits) {
    case 2:
      return Encoder<2>(target, norm).encode(closing);
    case 3:
      return Encoder<3>(target, norm).encode(closing);
    default:
      return Encoder<4>(target, norm).encode(closing);
  }
}

std::vector<float> choose_trellis_steps(ThreadPool& threads, std::span<const float> w,
                                        std::int64_t rows, std::int64_t cols,
                                        const IntegerFormat& format,
                                        std::span<const double> weights) {
  const std::int64_t groups = cols / format.group;
  std::vector<float> steps(at(rows * groups));
  for_row_pairs(threads, rows, [&](std::int64_t first, std::int64_t count) {
    for (std::int64_t g = 0; g < groups; ++g) {
      Group group(w, first, count, cols, g * format.group, format, weights);
      const std::array<float, 2> best = best_steps(group, at(count), format);
      for (std::int64_t r = 0; r < count; ++r) steps[at((first + r) * groups + g)] = best[at(r)];
    }
  });
  return steps;
}

void encode_nearest(ThreadPool& threads, std::span<const float> w, std::int64_t rows,
                    std::int64_t cols, const IntegerFormat& format, std::span<const double> weights,
                    RoundedMatrix& rounded) {
  const std::int64_t groups = cols / format.group, width = word_columns(format.bits);
  rounded.q.resize(at(rows * cols));
  rounded.code.resize(at(rows * cols));
  for_row_pairs(threads, rows, [&](std::int64_t first, std::int64_t count) {
    for (std::int64_t g = 0; g < groups; ++g) {
      Group group(w, first, count, cols, g * format.group, format, weights);
      std::array<float, 2> steps{};
      for (std::int64_t r = 0; r < count; ++r) {
        steps[at(r)] = rounded.steps[at((first + r) * groups + g)];
      }
      group.encode(steps, Closing::circular);
      for (std::size_t i = 0; i < group.words().size(); ++i) {
        for (std::int64_t r = 0; r < count; ++r) {
          const std::int64_t to =
              (first + r) * cols + g * format.group + static_cast<std::int64_t>(i) * width;
          std::copy_n(group.words()[i].q[at(r)].begin(), width, rounded.q.begin() + to);
          std::copy_n(group.words()[i].code[at(r)].begin(), width, rounded.code.begin() + to);
        }
      }
    }
  });
}

}  // namespace krait
