#include "quant/calibrate.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "kernels/hadamard/hadamard.h"
#include "quant/observer.h"

namespace krait {
namespace {

class Calibrator final : public Tap {
 public:
  Calibrator(Context& ctx, const QuantizationPlan& plan,
             const std::vector<std::vector<float>>& smoothing_factors)
      : ctx_{ctx.threads, ctx.kernels, arena_}, sites_(plan.layout.activations.size()) {
    for (int index : plan.static_sites) {
      const ActivationSite& site = plan.layout.activations[static_cast<std::size_t>(index)];
      Watched& watched = sites_[static_cast<std::size_t>(index)];
      for (std::int64_t i = 0; i < plan.scale_count(index); ++i) {
        watched.observers.push_back(make_observer(plan.recipe.activations.at(site.role).observer));
      }
      watched.hadamard_block = plan.numerics.at(site.role).hadamard_block;
      const int smoothing = find_smoothing(plan.smoothings, site.norm);
      if (smoothing >= 0) watched.factors = smoothing_factors[static_cast<std::size_t>(smoothing)];
      const auto groups = plan.groups.find(index);
      if (groups == plan.groups.end()) continue;
      watched.groups = &groups->second;
      watched.by_row = site.states > 0;
    }
  }

  void observe(int site, const Activation& value) override {
    Watched& watched = sites_[static_cast<std::size_t>(site)];
    if (watched.observers.empty()) return;
    // A copy without gaps between rows, which may be rotated in place.
    values_.resize(static_cast<std::size_t>(value.rows * value.cols));
    for (std::int64_t row = 0; row < value.rows; ++row) {
      float* copy = values_.data() + row * value.cols;
      std::copy_n(value.f32(row), value.cols, copy);
      for (std::size_t c = 0; c < watched.factors.size(); ++c) copy[c] /= watched.factors[c];
    }
    if (watched.hadamard_block > 0) {
      const Activation copy = f32_activation(values_.data(), value.rows, value.cols);
      hadamard(ctx_, copy, watched.hadamard_block, copy);
    }
    if (watched.groups) {
      observe_groups(watched);
    } else {
      watched.observers.front()->update(values_);
    }
  }

  std::vector<float> scales(int site, const std::string& name) const {
    std::vector<float> result;
    for (const auto& observer : sites_[static_cast<std::size_t>(site)].observers) {
      result.push_back(observer->scale(name));
    }
    return result;
  }

 private:
  struct Watched {
    std::vector<std::unique_ptr<Observer>> observers;  // none: nobody asks for this site's scale
    std::vector<float> factors;                        // empty, or what the channels are divided by
    std::int64_t hadamard_block = 0;
    const QuantizationPlan::Groups* groups = nullptr;
    bool by_row = false;  // each row, a state n of all channels, has observers of its own
  };

  /// Deals values_ out to the observers [groups] or, by row, [groups, rows].
  void observe_groups(Watched& watched) {
    const std::size_t channels = watched.groups->of_channel.size();
    const std::size_t rows = values_.size() / channels, of_each = watched.by_row ? rows : 1;
    dealt_.resize(watched.observers.size());
    for (std::vector<float>& values : dealt_) values.clear();
    for (std::size_t row = 0; row < rows; ++row) {
      for (std::size_t c = 0; c < channels; ++c) {
        const auto group = static_cast<std::size_t>(watched.groups->of_channel[c]);
        dealt_[group * of_each + row % of_each].push_back(values_[row * channels + c]);
      }
    }
    for (std::size_t i = 0; i < dealt_.size(); ++i) watched.observers[i]->update(dealt_[i]);
  }

  Arena arena_;
  Context ctx_;
  std::vector<Watched> sites_;
  std::vector<float> values_;
  std::vector<std::vector<float>> dealt_;
};

/// The largest magnitude of every channel of the sites that are smoothed.
class ChannelMaxima final : public Tap {
 public:
  explicit ChannelMaxima(const QuantizationPlan& plan) : sites_(plan.layout.activations.size()) {
    for (const Smoothing& smoothing : plan.smoothings) {
      const auto site = static_cast<std::size_t>(smoothing.site);
      sites_[site].resize(static_cast<std::size_t>(plan.layout.activations[site].channels));
    }
  }

  void observe(int site, const Activation& value) override {
    std::vector<float>& most = sites_[static_cast<std::size_t>(site)];
    for (std::int64_t row = 0; row < value.rows && !most.empty(); ++row) {
      const float* x = value.f32(row);
      for (std::size_t c = 0; c < most.size(); ++c) {
        const float magnitude = std::fabs(x[c]);
        if (magnitude > most[c] || std::isnan(magnitude)) most[c] = magnitude;  // NaN stays
      }
    }
  }

  const std::vector<float>& of(int site) const { return sites_[static_cast<std::size_t>(site)]; }

 private:
  std::vector<std::vector<float>> sites_;
};

/// The largest scale of the sites of one layer whose roles are in one list goes to all of them.
void share_scales(const QuantizationPlan& plan, std::vector<std::vector<float>>& scales) {
  const auto site_of = [&](std::size_t i) -> const ActivationSite& {
    return plan.layout.activations[static_cast<std::size_t>(plan.static_sites[i])];
  };
  for (const auto& roles : plan.recipe.shared_scales) {
    std::map<int, float> largest;  // by layer
    const auto is_listed = [&](std::size_t i) {
      return std::find(roles.begin(), roles.end(), site_of(i).role) != roles.end();
    };
    for (std::size_t i = 0; i < scales.size(); ++i) {
      if (is_listed(i))
        largest[site_of(i).layer] = std::max(largest[site_of(i).layer], scales[i].front());
    }
    for (std::size_t i = 0; i < scales.size(); ++i) {
      if (is_listed(i)) scales[i] = {largest[site_of(i).layer]};
    }
  }
}

}  // namespace

void run_samples(const Context& ctx, Tap& tap, const Model& model, const CalibrationData& data,
                 const char* what, const ProgressFn& progress) {
  Context tapped = ctx;
  tapped.tap = &tap;
  SequenceState state(model.state_layout());
  SequenceState* const states[] = {&state};
  Progress report{what, 0, static_cast<std::int64_t>(data.samples.size()), "samples"};
  for (const std::vector<TokenId>& sample : data.samples) {
    if (progress) progress(report);
    state.reset();
    const std::int32_t bounds[] = {0, static_cast<std::int32_t>(sample.size())};
    model.forward(tapped, {sample, bounds, states}, nullptr);
    ++report.done;
  }
  if (progress) progress(report);
}

CalibrationResult calibrate(Context& ctx, const Model& model, const TensorSource& tensors,
                            const QuantizationPlan& plan, const CalibrationData& data,
                            const ProgressFn& progress) {
  CalibrationResult result;
  if (!plan.smoothings.empty()) {
    ChannelMaxima maxima(plan);
    run_samples(ctx, maxima, model, data, "smooth", progress);
    for (const Smoothing& smoothing : plan.smoothings) {
      result.smoothing_factors.push_back(smoothing_factors(ctx.threads, plan.layout, tensors,
                                                           smoothing, maxima.of(smoothing.site)));
    }
  }
  if (plan.static_sites.empty()) return result;
  Calibrator calibrator(ctx, plan, result.smoothing_factors);
  run_samples(ctx, calibrator, model, data, "calibrate", progress);
  for (int index : plan.static_sites) {
    result.static_scales.push_back(
        calibrator.scales(index, plan.layout.activations[static_cast<std::size_t>(index)].name));
  }
  share_scales(plan, result.static_scales);
  return result;
}

}  // namespace krait
