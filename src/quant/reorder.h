// The offline half of Quamba2's sort-and-cluster (Chiang et al. 2025, arXiv 2503.22879): heads and
// channels change places in every tensor that they index, and the model's function stays.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "io/tensor_source.h"
#include "models/layout.h"

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

}  // namespace krait
