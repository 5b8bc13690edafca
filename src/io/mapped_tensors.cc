#include "io/mapped_tensors.h"

#include <cstdint>
#include <cstring>
#include <utility>

#include "core/check.h"
#include "core/memory.h"
#include "core/printable.h"

namespace krait {
namespace {

/// Copies the elements below dimension `dim` of a strided tensor, row-major, to `out`.
std::byte* copy_strided(const MappedTensor& tensor, int dim, const std::byte* from,
                        std::byte* out) {
  const std::size_t size = size_of(tensor.info.dtype);
  if (dim == tensor.info.shape.rank()) {
    std::memcpy(out, from, size);
    return out + size;
  }
  const std::int64_t step =
      tensor.strides[static_cast<std::size_t>(dim)] * static_cast<std::int64_t>(size);
  for (std::int64_t i = 0; i < tensor.info.shape[dim]; ++i) {
    out = copy_strided(tensor, dim + 1, from + i * step, out);
  }
  return out;
}

}  // namespace

MappedTensors::MappedTensors(std::vector<MappedTensor> tensors, std::shared_ptr<const void> owner,
                             std::string where)
    : owner_(std::move(owner)), where_(std::move(where)) {
  for (MappedTensor& tensor : tensors) {
    std::string name = tensor.info.name;
    tensors_.try_emplace(std::move(name), std::move(tensor));
  }
}

std::vector<TensorInfo> MappedTensors::list() const {
  std::vector<TensorInfo> infos;
  infos.reserve(tensors_.size());
  for (const auto& [name, tensor] : tensors_) infos.push_back(tensor.info);
  return infos;
}

bool MappedTensors::contains(std::string_view name) const { return tensors_.contains(name); }

Tensor MappedTensors::get(std::string_view name) const {
  const auto found = tensors_.find(name);
  check(found != tensors_.end(), ErrorCode::not_found, "there is no tensor {} in {}",
        printable(name), where_);
  const MappedTensor& tensor = found->second;
  const TensorView view{tensor.data, tensor.info.dtype, tensor.info.shape};
  const bool aligned = reinterpret_cast<std::uintptr_t>(tensor.data) % size_of(view.dtype) == 0;
  if (aligned && tensor.strides.empty()) return {view, owner_};
  Tensor copy(view.dtype, view.shape);
  std::byte* out = copy.mutable_as<std::byte>().data();
  if (view.elements() == 0) return copy;
  if (tensor.strides.empty()) {
    std::memcpy(out, tensor.data, view.bytes());
  } else {
    copy_strided(tensor, 0, tensor.data, out);
  }
  return copy;
}

void MappedTensors::release(std::string_view name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end() || !found->second.strides.empty()) return;
  const TensorInfo& info = found->second.info;
  advise_not_needed(found->second.data,
                    static_cast<std::size_t>(info.shape.elements()) * size_of(info.dtype));
}

}  // namespace krait
