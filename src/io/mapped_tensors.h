// Tensors that lie in one block of memory that someone parsed: a mapped file or a fuzzer's bytes.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "io/tensor_source.h"

namespace krait {

/// Where one tensor lies. The parser has checked that every element is inside the block.
struct MappedTensor {
  TensorInfo info;
  const std::byte* data = nullptr;
  std::vector<std::int64_t> strides;  ///< in elements, one per dimension; empty: contiguous
};

/// get() borrows a tensor that is contiguous and aligned to its element size, and copies others.
class MappedTensors final : public TensorSource {
 public:
  /// `owner` keeps the block alive. Names must be unique.
  MappedTensors(std::vector<MappedTensor> tensors, std::shared_ptr<const void> owner,
                std::string where);

  std::vector<TensorInfo> list() const override;
  bool contains(std::string_view name) const override;
  Tensor get(std::string_view name) const override;
  void release(std::string_view name) const override;  ///< only for blocks that are mapped files
  std::string where() const override { return where_; }

 private:
  std::map<std::string, MappedTensor, std::less<>> tensors_;
  std::shared_ptr<const void> owner_;
  std::string where_;
};

}  // namespace krait
