#include "core/tensor.h"

#include "core/check.h"
#include "core/float16.h"
#include "core/memory.h"

namespace krait {

Shape::Shape(std::initializer_list<std::int64_t> dims)
    : Shape(std::span<const std::int64_t>(dims.begin(), dims.size())) {}

Shape::Shape(std::span<const std::int64_t> dims) : rank_(static_cast<int>(dims.size())) {
  check(dims.size() <= kMaxRank, ErrorCode::bad_data,
        "a tensor has {} dimensions, at most {} are supported", dims.size(), kMaxRank);
  for (std::size_t i = 0; i < dims.size(); ++i) {
    check(dims[i] >= 0, ErrorCode::bad_data, "dimension {} of a tensor is negative: {}", i,
          dims[i]);
    dims_[i] = dims[i];
  }
}

std::int64_t Shape::elements() const {
  std::int64_t product = 1;
  for (int i = 0; i < rank_; ++i) {
    if (__builtin_mul_overflow(product, dims_[static_cast<std::size_t>(i)], &product)) {
      fail(ErrorCode::bad_data, "the shape {} has more elements than fit in 63 bits", str());
    }
  }
  return product;
}

std::string Shape::str() const {
  std::string text = "[";
  for (int i = 0; i < rank_; ++i) {
    text += (i ? ", " : "") + std::to_string(dims_[static_cast<std::size_t>(i)]);
  }
  return text + "]";
}

std::size_t TensorView::bytes() const {
  std::int64_t product = 0;
  const bool overflow =
      __builtin_mul_overflow(elements(), static_cast<std::int64_t>(size_of(dtype)), &product);
  check(!overflow, ErrorCode::bad_data, "the shape {} of {} has more bytes than fit in 63 bits",
        shape.str(), name_of(dtype));
  return static_cast<std::size_t>(product);
}

Tensor::Tensor(DType dtype, const Shape& shape) : view_{nullptr, dtype, shape} {
  std::shared_ptr<void> memory = allocate_aligned(view_.bytes());
  view_.data = memory.get();
  owner_ = std::move(memory);
}

Tensor::Tensor(TensorView view, std::shared_ptr<const void> owner)
    : view_(view), owner_(std::move(owner)) {}

Tensor to_f32(const TensorView& view) {
  Tensor result(DType::f32, view.shape);
  const std::span<float> out = result.mutable_as<float>();
  switch (view.dtype) {
    case DType::f32:
      for (std::size_t i = 0; i < out.size(); ++i) out[i] = view.as<float>()[i];
      break;
    case DType::f16:
      for (std::size_t i = 0; i < out.size(); ++i) out[i] = f16_to_f32(view.as<std::uint16_t>()[i]);
      break;
    case DType::bf16:
      for (std::size_t i = 0; i < out.size(); ++i)
        out[i] = bf16_to_f32(view.as<std::uint16_t>()[i]);
      break;
    case DType::f64:
      for (std::size_t i = 0; i < out.size(); ++i)
        out[i] = static_cast<float>(view.as<double>()[i]);
      break;
    default:
      fail(ErrorCode::bad_data, "a float tensor is needed, got {}", name_of(view.dtype));
  }
  return result;
}

}  // namespace krait
