#include "quant/sort_and_cluster.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <utility>

#include "core/check.h"
#include "core/rng.h"
#include "quant/calibrate.h"
#include "quant/cluster.h"

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

/// Which index of a dimension comes from which: order[i] + begin is what stands at begin + i.
struct Move {
  int dim;
  std::int64_t begin;
  const std::vector<std::int64_t>* order;
};

/// A copy with the elements of one dimension in another order.
Tensor moved(const Tensor& from, const Move& move) {
  std::int64_t outer = 1, inner = 1;
  const Shape& shape = from.shape();
  for (int d = 0; d < move.dim; ++d) outer *= shape[d];
  for (int d = move.dim + 1; d < shape.rank(); ++d) inner *= shape[d];
  const std::size_t bytes = static_cast<std::size_t>(inner) * size_of(from.dtype());
  const auto n = static_cast<std::size_t>(shape[move.dim]);
  Tensor to(from.dtype(), shape);
  const auto* source = static_cast<const char*>(from.view().data);
  auto* target = static_cast<char*>(const_cast<void*>(to.view().data));
  std::memcpy(target, source, from.bytes());
  const auto begin = static_cast<std::size_t>(move.begin);
  for (std::size_t o = 0; o < static_cast<std::size_t>(outer); ++o) {
    const std::size_t base = o * n + begin;
    for (std::size_t i = 0; i < move.order->size(); ++i) {
      const auto old = static_cast<std::size_t>((*move.order)[i]);
      std::memcpy(target + (base + i) * bytes, source + (base + old) * bytes, bytes);
    }
  }
  return to;
}

class Reordered final : public TensorSource {
 public:
  Reordered(const TensorSource& tensors, const ModelLayout& layout, std::vector<NewOrder> orders)
      : tensors_(tensors), orders_(std::move(orders)) {
    for (std::size_t i = 0; i < orders_.size(); ++i) {
      for (const HeadOrder::Range& range : layout.head_orders[i].ranges) {
        const NewOrder& order = orders_[i];
        moves_[range.tensor].push_back(
            {range.dim, range.begin, range.per_head ? &order.heads : &order.channels});
      }
    }
  }

  std::vector<TensorInfo> list() const override { return tensors_.list(); }
  bool contains(std::string_view name) const override { return tensors_.contains(name); }
  std::string where() const override { return tensors_.where(); }
  void release(std::string_view name) const override { tensors_.release(name); }
  Tensor get(std::string_view name) const override {
    Tensor tensor = tensors_.get(name);
    const auto it = moves_.find(name);
    if (it == moves_.end()) return tensor;
    for (const Move& move : it->second) tensor = moved(tensor, move);
    return tensor;
  }

 private:
  const TensorSource& tensors_;
  std::vector<NewOrder> orders_;
  std::map<std::string, std::vector<Move>, std::less<>> moves_;
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

std::unique_ptr<const TensorSource> reordered(const TensorSource& tensors,
                                              const ModelLayout& layout,
                                              std::vector<NewOrder> orders) {
  return std::make_unique<Reordered>(tensors, layout, std::move(orders));
}

std::unique_ptr<const TensorSource> sort_and_cluster(QuantizationPlan& plan,
                                                     const TensorSource& tensors,
                                                     const ChannelMagnitudes& magnitudes) {
  const ClusterStep& step = *plan.recipe.cluster;
  std::vector<NewOrder> orders;
  for (std::size_t i = 0; i < plan.layout.head_orders.size(); ++i) {
    const HeadOrder& order = plan.layout.head_orders[i];
    const HeadClusters found = cluster_heads(magnitudes[i], order.heads, order.head_dim,
                                             order.groups, step.heads, step.channels);
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
