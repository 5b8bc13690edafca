// The recurrent state of one sequence, as a value: copy it, save it, send it, fork it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/tensor.h"

namespace krait {

/// One buffer of the state, e.g. layer 3's "ssm_state" [N, C].
struct StateBuffer {
  std::string name;
  int layer = 0;
  DType dtype = DType::f32;
  Shape shape;
  std::size_t offset = 0;  ///< into the state's bytes, 64-byte aligned
};

/// Shared by all sequences of a model.
struct StateLayout {
  std::vector<StateBuffer> buffers;
  std::size_t bytes = 0;
  std::string fingerprint;  ///< of architecture, shapes, numerics and weights: states of another
                            ///< model are refused

  std::size_t add(std::string name, int layer, DType dtype,
                  const Shape& shape);  ///< returns the index
};

/// Constant size whatever the length of the text. The zero state is the start of a sequence.
class SequenceState {
 public:
  SequenceState() = default;
  explicit SequenceState(std::shared_ptr<const StateLayout> layout);
  SequenceState(const SequenceState& other);
  SequenceState& operator=(const SequenceState& other);
  SequenceState(SequenceState&&) noexcept = default;
  SequenceState& operator=(SequenceState&&) noexcept = default;

  void reset();
  std::int64_t position() const noexcept { return position_; }  ///< tokens consumed
  void advance(std::int64_t tokens) noexcept { position_ += tokens; }
  void* buffer(std::size_t index) noexcept;
  const void* buffer(std::size_t index) const noexcept;
  std::size_t bytes() const noexcept { return layout_ ? layout_->bytes : 0; }
  const StateLayout& layout() const { return *layout_; }

  /// "KRSTATE1", fingerprint, position, payload, checksum: see docs/formats.md.
  std::string serialize() const;
  /// Errors: bad_data (truncated, damaged), invalid_argument (of another model).
  static SequenceState deserialize(std::string_view bytes,
                                   std::shared_ptr<const StateLayout> layout);

 private:
  std::shared_ptr<const StateLayout> layout_;
  std::shared_ptr<void> memory_;
  std::int64_t position_ = 0;
};

}  // namespace krait
