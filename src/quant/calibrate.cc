#include "quant/calibrate.h"

#include <algorithm>

#include "core/check.h"
#include "kernels/hadamard/hadamard.h"
#include "quant/observer.h"

namespace krait {
namespace {

class Calibrator final : public Tap {
 public:
  Calibrator(Context& ctx, const QuantizationPlan& plan)
      : ctx_{ctx.threads, ctx.kernels, arena_}, sites_(plan.layout.activations.size()) {
    for (int index : plan.static_sites) {
      const ActivationSite& site = plan.layout.activations[static_cast<std::size_t>(index)];
      Watched& watched = sites_[static_cast<std::size_t>(index)];
      watched.observer = make_observer(plan.recipe.activations.at(site.role).observer);
      watched.hadamard_block = plan.numerics.at(site.role).hadamard_block;
    }
  }

  void observe(int site, const Activation& value) override {
    Watched& watched = sites_[static_cast<std::size_t>(site)];
    if (!watched.observer) return;
    // A copy without gaps between rows, which may be rotated in place.
    values_.resize(static_cast<std::size_t>(value.rows * value.cols));
    for (std::int64_t row = 0; row < value.rows; ++row) {
      std::copy_n(value.f32(row), value.cols, values_.data() + row * value.cols);
    }
    if (watched.hadamard_block > 0) {
      const Activation copy = f32_activation(values_.data(), value.rows, value.cols);
      hadamard(ctx_, copy, watched.hadamard_block, copy);
    }
    watched.observer->update(values_);
  }

  float scale(int site, const std::string& name) const {
    return sites_[static_cast<std::size_t>(site)].observer->scale(name);
  }

 private:
  struct Watched {
    std::unique_ptr<Observer> observer;  // none: nobody asks for this site's scale
    std::int64_t hadamard_block = 0;
  };

  Arena arena_;
  Context ctx_;
  std::vector<Watched> sites_;
  std::vector<float> values_;
};

/// The largest scale of the sites of one layer whose roles are in one list goes to all of them.
void share_scales(const QuantizationPlan& plan, std::vector<float>& scales) {
  const auto site_of = [&](std::size_t i) -> const ActivationSite& {
    return plan.layout.activations[static_cast<std::size_t>(plan.static_sites[i])];
  };
  for (const auto& roles : plan.recipe.shared_scales) {
    std::map<int, float> largest;  // by layer
    const auto is_listed = [&](std::size_t i) {
      return std::find(roles.begin(), roles.end(), site_of(i).role) != roles.end();
    };
    for (std::size_t i = 0; i < scales.size(); ++i) {
      if (is_listed(i)) largest[site_of(i).layer] = std::max(largest[site_of(i).layer], scales[i]);
    }
    for (std::size_t i = 0; i < scales.size(); ++i) {
      if (is_listed(i)) scales[i] = largest[site_of(i).layer];
    }
  }
}

}  // namespace

std::vector<float> calibrate(Context& ctx, const Model& model, const QuantizationPlan& plan,
                             const CalibrationData& data, const ProgressFn& progress) {
  Calibrator calibrator(ctx, plan);
  Context tapped{ctx.threads, ctx.kernels, ctx.arena, &calibrator};
  SequenceState state(model.state_layout());
  SequenceState* const states[] = {&state};
  Progress report{"calibrate", 0, static_cast<std::int64_t>(data.samples.size()), "samples"};
  for (const std::vector<TokenId>& sample : data.samples) {
    if (progress) progress(report);
    state.reset();
    const std::int32_t bounds[] = {0, static_cast<std::int32_t>(sample.size())};
    model.forward(tapped, {sample, bounds, states}, LogitRows::none, nullptr);
    ++report.done;
  }
  if (progress) progress(report);
  std::vector<float> scales;
  for (int index : plan.static_sites) {
    scales.push_back(
        calibrator.scale(index, plan.layout.activations[static_cast<std::size_t>(index)].name));
  }
  share_scales(plan, scales);
  return scales;
}

}  // namespace krait
