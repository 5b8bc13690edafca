// Where named tensors come from: a checkpoint's files, memory, or a generator.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/tensor.h"

namespace krait {

struct TensorInfo {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;
};

/// Reading is thread-safe. Names are unique.
class TensorSource {
 public:
  virtual ~TensorSource() = default;
  virtual std::vector<TensorInfo> list() const = 0;  ///< sorted by name
  virtual bool contains(std::string_view name) const = 0;
  /// Throws not_found naming the tensor and where it was looked for.
  virtual Tensor get(std::string_view name) const = 0;
  /// For messages: "model.safetensors in DIR".
  virtual std::string where() const = 0;
};

/// Where quantized tensors go. declare() all, then write() each once in the same order, then
/// finish(). Nothing is visible to others before finish() returns.
class TensorSink {
 public:
  virtual ~TensorSink() = default;
  virtual void declare(const TensorInfo& info) = 0;
  virtual void write(std::string_view name, const TensorView& view) = 0;
  virtual void finish() = 0;
};

/// Tensors in memory, both ends; what `bench --dummy` quantizes into.
std::shared_ptr<TensorSource> make_memory_source(std::vector<std::pair<std::string, Tensor>> tensors);

}  // namespace krait
