#include "quant/reorder.h"

#include <cstring>
#include <map>
#include <utility>

namespace krait {
namespace {

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

std::unique_ptr<const TensorSource> reordered(const TensorSource& tensors,
                                              const ModelLayout& layout,
                                              std::vector<NewOrder> orders) {
  return std::make_unique<Reordered>(tensors, layout, std::move(orders));
}

}  // namespace krait
