// The step "cluster" of a recipe: sort-and-cluster of Quamba2 (Chiang et al. 2025, arXiv
// 2503.22879, section 4) over all layers of a model: heads and channels change places in every
// tensor that they index, and the model's function stays.
#pragma once

#include <memory>
#include <vector>

#include "models/model.h"
#include "quant/calibration_data.h"
#include "krait/quantize.h"
#include "quant/plan.h"

namespace krait {

/// New places of one HeadOrder's heads and channels: the old index at each.
struct NewOrder {
  std::vector<std::int64_t> heads, channels;
};

/// The same tensors with layout.head_orders[i] rearranged by orders[i]. Tensors that no order
/// touches are passed on as they are; the others are copied when they are asked for. `tensors` must
/// outlive the result.
std::unique_ptr<const TensorSource> reordered(const TensorSource& tensors,
                                              const ModelLayout& layout,
                                              std::vector<NewOrder> orders);

/// How large each channel of each of layout.head_orders gets.
using ChannelMagnitudes = std::vector<std::vector<float>>;

/// For every channel the largest over all samples of the mean over a sample's tokens of |x|, as the
/// authors' code measures it.
ChannelMagnitudes channel_magnitudes(Context& ctx, const Model& model, const ModelLayout& layout,
                                     const CalibrationData& data, const ProgressFn& progress);

/// Made-up ones, where there is nothing to calibrate on.
ChannelMagnitudes dummy_magnitudes(const ModelLayout& layout);

/// Sorts and clusters as the plan's step "cluster" says, puts the clusters into plan.groups of the
/// sites that have scales by groups, and gives the same tensors in the new order: what is
/// calibrated and written from here on. `tensors` must outlive the result.
std::unique_ptr<const TensorSource> sort_and_cluster(QuantizationPlan& plan,
                                                     const TensorSource& tensors,
                                                     const ChannelMagnitudes& magnitudes);

}  // namespace krait
