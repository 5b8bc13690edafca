#include "io/tensor_source.h"

#include <cstring>

#include "core/check.h"

namespace krait {

void DeclaredTensors::declare(const TensorInfo& info) {
  check(!writing_, ErrorCode::invalid_argument, "tensor {} is declared after the first write",
        info.name);
  const bool is_new = index_.try_emplace(info.name, infos_.size(), false).second;
  check(is_new, ErrorCode::invalid_argument, "tensor {} is declared twice", info.name);
  infos_.push_back(info);
}

void DeclaredTensors::write(std::string_view name, const TensorView& view) {
  const auto found = index_.find(name);
  check(found != index_.end(), ErrorCode::invalid_argument,
        "tensor {} is written but was not declared", name);
  auto& [place, written] = found->second;
  check(!written, ErrorCode::invalid_argument, "tensor {} is written twice", name);
  const TensorInfo& info = infos_[place];
  check(view.dtype == info.dtype && view.shape == info.shape, ErrorCode::invalid_argument,
        "tensor {} was declared as {} {} but is written as {} {}", name, name_of(info.dtype),
        info.shape.str(), name_of(view.dtype), view.shape.str());
  writing_ = written = true;
}

void DeclaredTensors::finish() const {
  for (const auto& [name, state] : index_) {
    check(state.second, ErrorCode::invalid_argument, "tensor {} was declared but never written",
          name);
  }
}

MemoryTensors::MemoryTensors(std::vector<std::pair<std::string, Tensor>> tensors)
    : readable_(true) {
  for (auto& [name, tensor] : tensors) {
    const bool is_new = tensors_.try_emplace(name, std::move(tensor)).second;
    check(is_new, ErrorCode::invalid_argument, "tensor {} is given twice", name);
  }
}

std::vector<TensorInfo> MemoryTensors::list() const {
  std::vector<TensorInfo> infos;
  if (!readable_) return infos;
  for (const auto& [name, tensor] : tensors_)
    infos.push_back({name, tensor.dtype(), tensor.shape()});
  return infos;
}

bool MemoryTensors::contains(std::string_view name) const {
  return readable_ && tensors_.contains(name);
}

Tensor MemoryTensors::get(std::string_view name) const {
  check(contains(name), ErrorCode::not_found, "there is no tensor {} in {}", name, where());
  return tensors_.find(name)->second;
}

void MemoryTensors::declare(const TensorInfo& info) {
  check(!readable_, ErrorCode::invalid_argument, "tensor {} is declared after finish()", info.name);
  declared_.declare(info);
}

void MemoryTensors::write(std::string_view name, const TensorView& view) {
  declared_.write(name, view);
  Tensor copy(view.dtype, view.shape);
  if (view.bytes() > 0) std::memcpy(copy.mutable_as<std::byte>().data(), view.data, view.bytes());
  tensors_.insert_or_assign(std::string(name), std::move(copy));
}

void MemoryTensors::finish() {
  declared_.finish();
  readable_ = true;
}

std::shared_ptr<TensorSource> make_memory_source(
    std::vector<std::pair<std::string, Tensor>> tensors) {
  return std::make_shared<MemoryTensors>(std::move(tensors));
}

}  // namespace krait
