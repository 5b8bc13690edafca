#include "quant/sort_and_cluster.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "core/rng.h"
#include "quant/calibrate.h"
#include "quant/cluster.h"
#include "quant/reorder.h"

namespace krait {
namespace {

class MagnitudeTap final : public Tap {
 public:
  explicit MagnitudeTap(const ModelLayout& layout) : orders_(layout.activations.size(), -1) {
    for (std::size_t i = 0; i < layout.head_orders.size(); ++i) {
      const HeadOrder& order = layout.head_orders[i];
      const auto site = std::find_if(
          layout.activations.begin(), layout.activations.end(),
          [&](const ActivationSite& s) { return s.role == order.role && s.layer == order.layer; });
      orders_[static_cast<std::size_t>(site - layout.activations.begin())] = static_cast<int>(i);
      magnitudes_.emplace_back(static_cast<std::size_t>(site->channels));
    }
  }

  void observe(int site, const Activation& value) override {
    const int order = orders_[static_cast<std::size_t>(site)];
    if (order < 0 || value.rows == 0) return;
    std::vector<float>& largest = magnitudes_[static_cast<std::size_t>(order)];
    std::vector<double> sum(largest.size());
    for (std::int64_t t = 0; t < value.rows; ++t) {
      for (std::size_t c = 0; c < sum.size(); ++c) {
        sum[c] += std::fabs(static_cast<double>(value.f32(t)[c]));
      }
    }
    for (std::size_t c = 0; c < sum.size(); ++c) {
      largest[c] =
          std::max(largest[c], static_cast<float>(sum[c] / static_cast<double>(value.rows)));
    }
  }

  ChannelMagnitudes take() { return std::move(magnitudes_); }

 private:
  std::vector<int> orders_;  // by activation site
  ChannelMagnitudes magnitudes_;
};

}  // namespace

ChannelMagnitudes channel_magnitudes(Context& ctx, const Model& model, const ModelLayout& layout,
                                     const CalibrationData& data, const ProgressFn& progress) {
  MagnitudeTap tap(layout);
  run_samples(ctx, tap, model, data, "cluster", progress);
  ChannelMagnitudes magnitudes = tap.take();
  for (std::size_t i = 0; i < magnitudes.size(); ++i) {
    check(std::ranges::all_of(magnitudes[i], [](float m) { return std::isfinite(m); }),
          ErrorCode::bad_data, "calibration saw NaN or an infinite value at {} of layer {}",
          layout.head_orders[i].role, layout.head_orders[i].layer);
  }
  return magnitudes;
}

ChannelMagnitudes dummy_magnitudes(const ModelLayout& layout) {
  ChannelMagnitudes magnitudes;
  Rng rng(1);
  for (const HeadOrder& order : layout.head_orders) {
    auto& layer = magnitudes.emplace_back(static_cast<std::size_t>(order.heads * order.head_dim));
    for (float& m : layer) m = static_cast<float>(rng.uniform());
  }
  return magnitudes;
}

std::unique_ptr<const TensorSource> sort_and_cluster(QuantizationPlan& plan,
                                                     const TensorSource& tensors,
                                                     const ChannelMagnitudes& magnitudes) {
  const ClusterStep& step = *plan.recipe.cluster;
  std::vector<NewOrder> orders;
  for (std::size_t i = 0; i < plan.layout.head_orders.size(); ++i) {
    const HeadOrder& order = plan.layout.head_orders[i];
    const HeadClusters found =
        cluster_heads(magnitudes[i], order.heads, order.head_dim, order.groups, step.heads,
                      step.channels);
    orders.push_back({found.heads, found.channels});
    std::vector<int> of_channel;  // in the new order
    for (const std::int64_t old : found.channels) {
      of_channel.push_back(found.cluster[static_cast<std::size_t>(old)]);
    }
    for (auto& [index, groups] : plan.groups) {
      const ActivationSite& site = plan.layout.activations[static_cast<std::size_t>(index)];
      const bool has_heads = site.role == order.role || site.role == order.state_role;
      if (site.layer == order.layer && has_heads) groups = {of_channel, found.clusters};
    }
  }
  return reordered(tensors, plan.layout, std::move(orders));
}

}  // namespace krait
