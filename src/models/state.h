// The recurrent state of one sequence, as a value: copy it, save it, send it, fork it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/memory.h"
#include "core/tensor.h"
#include "kernels/sequences.h"

namespace krait {

/// One buffer of the state, e.g. layer 3's "ssm_state" [N, C], or rows that attention keeps of
/// every token: "k_cache" [C] per token.
struct StateBuffer {
  std::string name;
  int layer = 0;
  DType dtype = DType::f32;
  Shape shape;             ///< of one token's row if per_token
  bool per_token = false;  ///< grows with the text: one row for each token consumed
  std::size_t offset = 0;  ///< into the constant part, 64-byte aligned; unused if per_token
  int since = 2;           ///< the first version of saved states that has it
};

/// Of one token's row, or of the whole buffer if it does not grow.
inline std::size_t row_bytes(const StateBuffer& buffer) noexcept {
  return static_cast<std::size_t>(buffer.shape.elements()) * size_of(buffer.dtype);
}

/// Shared by all sequences of a model.
struct StateLayout {
  std::vector<StateBuffer> buffers;
  std::size_t bytes = 0;            ///< of the constant part
  double step_bytes = 0;            ///< of it, read and written by a token on average
  std::size_t bytes_per_token = 0;  ///< of all rows of one token; 0 without attention
  std::string fingerprint;  ///< of architecture, shapes, numerics and weights: states of another
                            ///< model are refused

  /// Returns the index. A token reads and writes the buffer `passes` times on average.
  std::size_t add(std::string name, int layer, DType dtype, const Shape& shape, double passes = 2);
  std::size_t add_per_token(std::string name, int layer, DType dtype, const Shape& row);
};

/// Constant size whatever the length of the text, but for the rows that attention layers keep of
/// every token. The zero state is the start of a sequence.
class SequenceState {
 public:
  SequenceState() = default;
  explicit SequenceState(std::shared_ptr<const StateLayout> layout, Memory& memory = host_memory());
  SequenceState(const SequenceState& other);
  SequenceState& operator=(const SequenceState& other);
  SequenceState(SequenceState&&) noexcept = default;
  SequenceState& operator=(SequenceState&&) noexcept = default;

  void reset();
  std::int64_t position() const noexcept { return position_; }  ///< tokens consumed
  /// Room for `tokens` more rows in the buffers that grow: before a forward pass writes them.
  void reserve(std::int64_t tokens);
  void advance(std::int64_t tokens) noexcept;  ///< reserve() them first
  /// From now on the state can go back by up to `count` tokens, for as many times its constant
  /// part. 0: not at all.
  void keep_history(std::int64_t count);
  std::int64_t history() const noexcept { return history_; }
  /// Tokens that rollback() can take back: those consumed since keep_history(), but not more.
  std::int64_t kept() const noexcept { return kept_; }
  /// The state as it was before the last `tokens` tokens, to the bit. Errors: invalid_argument if
  /// they are more than kept().
  void rollback(std::int64_t tokens);
  /// Tokens [begin, end) of a batch as this sequence's next ones.
  SequenceRows next_rows(std::int64_t begin, std::int64_t end) const noexcept;
  /// Constant, or the row of token 0 of a buffer that grows; valid until the next reserve().
  void* buffer(std::size_t index) noexcept;
  const void* buffer(std::size_t index) const noexcept;
  std::size_t bytes() const noexcept;  ///< of what is kept at this position
  const StateLayout& layout() const { return *layout_; }

  /// "KRSTATE3", fingerprint, position, payload, checksum: see docs/reference/formats.md.
  std::string serialize() const;
  /// Reads "KRSTATE2" too, where that says enough. `rest` gets what follows the state; without it
  /// nothing may. Errors: bad_data (truncated, damaged, of an earlier version), invalid_argument
  /// (of another model).
  static SequenceState deserialize(std::string_view bytes,
                                   std::shared_ptr<const StateLayout> layout,
                                   std::string_view* rest = nullptr,
                                   Memory& memory = host_memory());

 private:
  /// fn(index, bytes) for every buffer that holds rows at this position.
  template <typename Fn>
  void for_each_rows(Fn&& fn) const {
    if (position_ == 0) return;
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      const StateBuffer& b = layout_->buffers[i];
      if (b.per_token) fn(i, static_cast<std::size_t>(position_) * row_bytes(b));
    }
  }

  std::shared_ptr<const StateLayout> layout_;
  Memory* where_ = &host_memory();
  std::size_t constant_bytes() const noexcept;  // with what is kept of before

  std::shared_ptr<void> memory_;              // the constant part, then history_ times the same
  std::vector<std::shared_ptr<void>> rows_;   // by buffer; null for constant ones
  std::int64_t position_ = 0, capacity_ = 0;  // tokens; capacity_ rows have room
  std::int64_t history_ = 0, kept_ = 0;       // as SequenceRows has it; tokens
};

}  // namespace krait
