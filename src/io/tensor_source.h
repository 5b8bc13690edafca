// Where named tensors come from: a checkpoint's files, memory, or a generator.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/tensor.h"

namespace krait {

struct TensorInfo {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;
};

/// What a sink was promised and what it got: the checks that every sink makes.
class DeclaredTensors {
 public:
  void declare(const TensorInfo& info);
  /// Marks as written; throws invalid_argument if undeclared, written before or not as declared.
  void write(std::string_view name, const TensorView& view);
  void finish() const;  ///< throws invalid_argument if a declared tensor was not written
  const std::vector<TensorInfo>& infos() const noexcept { return infos_; }  ///< in order

 private:
  std::vector<TensorInfo> infos_;
  std::map<std::string, std::pair<std::size_t, bool>, std::less<>> index_;  ///< place, written
  bool writing_ = false;
};

/// Reading is thread-safe. Names are unique.
class TensorSource {
 public:
  virtual ~TensorSource() = default;
  virtual std::vector<TensorInfo> list() const = 0;  ///< sorted by name
  virtual bool contains(std::string_view name) const = 0;
  /// Throws not_found naming the tensor and where it was looked for.
  virtual Tensor get(std::string_view name) const = 0;
  /// A hint that the tensor's bytes will not be read soon: a mapped file gives their pages back.
  /// They can still be read.
  virtual void release([[maybe_unused]] std::string_view name) const {}
  /// For messages: "model.safetensors in DIR".
  virtual std::string where() const = 0;
};

/// Where quantized tensors go. declare() all, then write() each once in any order, then finish().
/// Nothing is visible to others before finish() returns. A tensor that is undeclared, written
/// twice, misshaped or missing at finish() is refused (invalid_argument).
class TensorSink {
 public:
  virtual ~TensorSink() = default;
  virtual void declare(const TensorInfo& info) = 0;
  virtual void write(std::string_view name, const TensorView& view) = 0;
  virtual void finish() = 0;
};

/// Tensors in memory, both ends; what `bench --dummy` quantizes into. As a sink it copies what is
/// written; as a source it is readable after finish().
class MemoryTensors final : public TensorSource, public TensorSink {
 public:
  MemoryTensors() = default;
  explicit MemoryTensors(std::vector<std::pair<std::string, Tensor>> tensors);

  std::vector<TensorInfo> list() const override;
  bool contains(std::string_view name) const override;
  Tensor get(std::string_view name) const override;
  std::string where() const override { return "memory"; }

  void declare(const TensorInfo& info) override;
  void write(std::string_view name, const TensorView& view) override;
  void finish() override;

 private:
  std::map<std::string, Tensor, std::less<>> tensors_;
  DeclaredTensors declared_;
  bool readable_ = false;
};

/// Tensors that are already in memory. Names must be unique.
std::shared_ptr<TensorSource> make_memory_source(
    std::vector<std::pair<std::string, Tensor>> tensors);

}  // namespace krait
