#include "quant/observer.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include "core/check.h"
#include "core/choices.h"

namespace krait {
namespace {

constexpr double kLevels = 127;         // of the positive half of int8
constexpr double kSmallestClip = 1e-6;  // a site that is always 0 still has a scale

class AbsmaxObserver final : public Observer {
  void observe(std::span<const float>, float absmax) override { clip_ = std::max(clip_, absmax); }
  double clip() const override { return clip_; }
  float clip_ = 0;
};

class PercentileObserver final : public Observer {
 public:
  PercentileObserver(double percentile, double averaging)
      : quantile_(percentile / 100), averaging_(averaging) {}

 private:
  void observe(std::span<const float> values, float) override {
    magnitudes_.resize(values.size());
    std::transform(values.begin(), values.end(), magnitudes_.begin(),
                   [](float x) { return std::fabs(x); });
    // The value at the fractional rank q (n - 1), between its two neighbours in sorted order.
    const double rank = quantile_ * static_cast<double>(values.size() - 1);
    const auto below = std::min(static_cast<std::size_t>(rank), values.size() - 1);
    const auto nth = magnitudes_.begin() + static_cast<std::ptrdiff_t>(below);
    std::nth_element(magnitudes_.begin(), nth, magnitudes_.end());
    double p = *nth;
    if (nth + 1 != magnitudes_.end()) {
      const double above = *std::min_element(nth + 1, magnitudes_.end());
      p += (rank - static_cast<double>(below)) * (above - p);
    }
    clip_ = first_ ? p : clip_ + averaging_ * (p - clip_);
    first_ = false;
  }
  double clip() const override { return clip_; }

  double quantile_, averaging_;
  double clip_ = 0;
  bool first_ = true;
  std::vector<float> magnitudes_;  // kept between samples
};

/// Counts and moments of |x| in bins that split each octave into 64: the upper bits of the float.
class MseObserver final : public Observer {
  static constexpr int kMantissaBits = 6;
  static constexpr int kLowestExponent = -32, kOctaves = 64;
  static constexpr int kBins = kOctaves << kMantissaBits;
  struct Bin {
    double count = 0, sum = 0, squares = 0;
  };

  static int bin_of(float magnitude) {
    const int index =
        static_cast<int>(std::bit_cast<std::uint32_t>(magnitude) >> (23 - kMantissaBits));
    return std::clamp(index - ((127 + kLowestExponent) << kMantissaBits), 0, kBins - 1);
  }

  void observe(std::span<const float> values, float absmax) override {
    for (float x : values) {
      const float magnitude = std::fabs(x);
      Bin& bin = bins_[static_cast<std::size_t>(bin_of(magnitude))];
      bin.count += 1;
      bin.sum += magnitude;
      bin.squares += static_cast<double>(magnitude) * magnitude;
    }
    absmax_ = std::max(absmax_, absmax);
  }

  /// E(m) with s = m / 127: |x| < s/2 becomes 0 and loses x^2; up to m rounding loses s^2 / 12 on
  /// average; above m clipping loses (|x| - m)^2. Candidates are the bins' upper edges and absmax.
  double clip() const override {
    std::vector<Bin> below(kBins + 1);  // sums over the bins below
    for (std::size_t i = 0; i < kBins; ++i) {
      below[i + 1] = {below[i].count + bins_[i].count, below[i].sum + bins_[i].sum,
                      below[i].squares + bins_[i].squares};
    }
    const Bin& all = below[kBins];
    const auto error = [&](double m, std::size_t bins_inside) {
      const double s = m / kLevels;
      const Bin& zeroed = below[static_cast<std::size_t>(bin_of(static_cast<float>(s / 2)))];
      const Bin& inside = below[bins_inside];
      const double count = all.count - inside.count, sum = all.sum - inside.sum;
      const double clipped = all.squares - inside.squares - 2 * m * sum + m * m * count;
      return zeroed.squares + (inside.count - zeroed.count) * s * s / 12 + clipped;
    };
    double best = absmax_, best_error = error(best, kBins);
    const int top = bin_of(absmax_);
    for (int i = 0; i < top; ++i) {
      const auto bits =
          static_cast<std::uint32_t>(i + 1 + ((127 + kLowestExponent) << kMantissaBits));
      const double edge = std::bit_cast<float>(bits << (23 - kMantissaBits));
      const double e = error(edge, static_cast<std::size_t>(i) + 1);
      if (e < best_error) {
        best_error = e;
        best = edge;
      }
    }
    return best;
  }

  std::vector<Bin> bins_ = std::vector<Bin>(kBins);
  float absmax_ = 0;
};

const std::vector<std::string>& observer_names() {
  static const std::vector<std::string> names = {"absmax", "mse", "percentile"};
  return names;
}

}  // namespace

void Observer::update(std::span<const float> values) {
  if (values.empty()) return;
  float absmax = 0;
  std::uint32_t largest_bits = 0;  // as integers, NaN and infinity exceed every finite magnitude
  for (float x : values) {
    largest_bits = std::max(largest_bits, std::bit_cast<std::uint32_t>(x) & 0x7fffffffu);
  }
  seen_ = true;
  finite_ = finite_ && largest_bits < 0x7f800000u;
  if (!finite_) return;
  absmax = std::bit_cast<float>(largest_bits);
  observe(values, absmax);
}

float Observer::scale(std::string_view site) const {
  check(seen_, ErrorCode::bad_data, "calibration saw no value at {}", site);
  check(finite_, ErrorCode::bad_data, "calibration saw NaN or an infinite value at {}", site);
  return static_cast<float>(std::max(clip(), kSmallestClip) / kLevels);
}

std::unique_ptr<Observer> make_observer(const ObserverArgs& args) {
  if (args.name == "absmax") return std::make_unique<AbsmaxObserver>();
  if (args.name == "mse") return std::make_unique<MseObserver>();
  if (args.name == "percentile") {
    return std::make_unique<PercentileObserver>(args.percentile, args.averaging);
  }
  fail(ErrorCode::invalid_argument, "unknown observer {}",
       unknown_name(args.name, observer_names()));
}

std::string known_observers() { return fmt::format("{}", fmt::join(observer_names(), ", ")); }

void check_observer_name(const std::string& name, const std::string& where) {
  if (std::find(observer_names().begin(), observer_names().end(), name) == observer_names().end()) {
    fail(ErrorCode::invalid_argument, "{}: unknown observer {}", where,
         unknown_name(name, observer_names()));
  }
}

}  // namespace krait
