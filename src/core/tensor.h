// Shapes, views and the one owner of tensor memory. Row-major; the last dimension is contiguous.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>

#include "core/dtype.h"

namespace krait {

/// Up to four dimensions, each >= 0.
class Shape {
 public:
  static constexpr int kMaxRank = 4;

  Shape() = default;
  Shape(std::initializer_list<std::int64_t> dims);  ///< throws if rank > 4 or a dim is negative
  explicit Shape(std::span<const std::int64_t> dims);

  int rank() const noexcept { return rank_; }
  std::int64_t operator[](int i) const noexcept { return dims_[static_cast<std::size_t>(i)]; }
  /// Product of the dimensions (1 for a scalar); throws bad_data on int64 overflow.
  std::int64_t elements() const;
  std::string str() const;  ///< "[3072, 768]"
  bool operator==(const Shape&) const = default;

 private:
  std::array<std::int64_t, kMaxRank> dims_{};
  int rank_ = 0;
};

/// Read-only typed memory that someone else owns.
struct TensorView {
  const void* data = nullptr;
  DType dtype = DType::f32;
  Shape shape;

  std::int64_t elements() const { return shape.elements(); }
  std::size_t bytes() const;  ///< throws bad_data if they do not fit in 63 bits
  /// The elements as T; the caller has checked dtype.
  template <typename T>
  std::span<const T> as() const {
    return {static_cast<const T*>(data), static_cast<std::size_t>(elements())};
  }
};

/// A tensor that keeps its memory alive: 64-byte aligned heap memory, or a piece of a mapped file.
/// Copies share the memory; treat shared memory as immutable.
class Tensor {
 public:
  Tensor() = default;
  Tensor(DType dtype, const Shape& shape);                     ///< zeroed, 64-byte aligned
  Tensor(TensorView view, std::shared_ptr<const void> owner);  ///< borrows; owner keeps it alive

  const TensorView& view() const noexcept { return view_; }
  DType dtype() const noexcept { return view_.dtype; }
  const Shape& shape() const noexcept { return view_.shape; }
  std::int64_t elements() const { return view_.elements(); }
  std::size_t bytes() const { return view_.bytes(); }
  bool empty() const noexcept { return view_.data == nullptr; }

  template <typename T>
  std::span<const T> as() const {
    return view_.as<T>();
  }
  /// Writable elements; only for tensors made by the first constructor.
  template <typename T>
  std::span<T> mutable_as() {
    return {static_cast<T*>(const_cast<void*>(view_.data)), static_cast<std::size_t>(elements())};
  }

 private:
  TensorView view_;
  std::shared_ptr<const void> owner_;
};

/// A float tensor of any float dtype (or f64) as f32 values.
Tensor to_f32(const TensorView& view);

}  // namespace krait
