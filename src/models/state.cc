#include "models/state.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "core/check.h"
#include "core/memory.h"
#include "models/byte_reader.h"
#include "models/fingerprint.h"

namespace krait {
namespace {

static_assert(std::endian::native == std::endian::little, "saved states are little-endian");

constexpr std::string_view kMagic = "KRSTATE3", kSecondMagic = "KRSTATE2", kFirstMagic = "KRSTATE1";
/// Tokens that Mamba-2 took at once: version 2 kept nothing of those since the last multiple.
constexpr std::int64_t kChunkOfVersion2 = 16;

/// In the payload and in memory.
std::size_t padded(std::size_t bytes) { return (bytes + 63) / 64 * 64; }

/// Refuses what is no saved state; 2 or 3.
int version_of(std::string_view bytes) {
  check(!bytes.starts_with(kFirstMagic), ErrorCode::bad_data,
        "the saved state is of version 1 ({}), which earlier versions of krait wrote: it does not "
        "say enough of its model to be continued, consume the text again",
        kFirstMagic);
  const bool is_second = bytes.starts_with(kSecondMagic);
  check(is_second || bytes.starts_with(kMagic), ErrorCode::bad_data,
        "this is not a saved state: it does not start with {}", kMagic);
  return is_second ? 2 : 3;
}

}  // namespace

std::size_t StateLayout::add(std::string name, int layer, DType dtype, const Shape& shape,
                             double passes) {
  buffers.push_back({std::move(name), layer, dtype, shape, false, bytes});
  step_bytes += passes * static_cast<double>(row_bytes(buffers.back()));
  bytes += padded(row_bytes(buffers.back()));
  return buffers.size() - 1;
}

std::size_t StateLayout::add_per_token(std::string name, int layer, DType dtype, const Shape& row) {
  buffers.push_back({std::move(name), layer, dtype, row, true, 0});
  bytes_per_token += row_bytes(buffers.back());
  return buffers.size() - 1;
}

SequenceState::SequenceState(std::shared_ptr<const StateLayout> layout, Memory& memory)
    : layout_(std::move(layout)),
      where_(&memory),
      memory_(where_->allocate(layout_->bytes)),
      rows_(layout_->buffers.size()) {}

SequenceState::SequenceState(const SequenceState& other) {
  if (!other.layout_) return;
  *this = SequenceState(other.layout_, *other.where_);
  keep_history(other.history_);
  where_->copy(memory_.get(), other.memory_.get(), constant_bytes());
  kept_ = other.kept_;
  reserve(other.position_);
  position_ = other.position_;
  for_each_rows([&](std::size_t i, std::size_t bytes) {
    where_->copy(rows_[i].get(), other.rows_[i].get(), bytes);
  });
}

SequenceState& SequenceState::operator=(const SequenceState& other) {
  if (this != &other) *this = SequenceState(other);
  return *this;
}

void SequenceState::reset() {
  if (layout_) where_->zero(memory_.get(), layout_->bytes);
  position_ = kept_ = 0;
}

void SequenceState::advance(std::int64_t tokens) noexcept {
  position_ += tokens;
  kept_ = std::min(history_, kept_ + tokens);
}

std::size_t SequenceState::constant_bytes() const noexcept {
  return layout_->bytes * static_cast<std::size_t>(1 + history_);
}

void SequenceState::keep_history(std::int64_t count) {
  check(count >= 0, ErrorCode::invalid_argument,
        "a state can go back by a number of tokens of at least 0, got {}", count);
  kept_ = 0;
  if (count == history_) return;
  const std::shared_ptr<void> before = std::move(memory_);
  history_ = count;
  memory_ = where_->allocate(constant_bytes());
  where_->copy(memory_.get(), before.get(), layout_->bytes);
}

void SequenceState::rollback(std::int64_t tokens) {
  check(tokens >= 0 && tokens <= kept_, ErrorCode::invalid_argument,
        "the sequence can go back by at most {} tokens, {} were asked for", kept_, tokens);
  if (tokens == 0) return;
  position_ -= tokens;
  kept_ -= tokens;
  auto* const now = static_cast<std::byte*>(memory_.get());
  where_->copy(now, now + next_rows(0, 0).copy_offset(position_), layout_->bytes);
}

SequenceRows SequenceState::next_rows(std::int64_t begin, std::int64_t end) const noexcept {
  return {.begin = begin,
          .end = end,
          .position = position_,
          .history = history_,
          .stride = static_cast<std::int64_t>(layout_->bytes)};
}

void SequenceState::reserve(std::int64_t tokens) {
  if (layout_->bytes_per_token == 0 || position_ + tokens <= capacity_) return;
  const std::int64_t needed = position_ + tokens;
  // Half as much again: copying costs a constant per token in the long run.
  const std::int64_t capacity = std::max(needed, capacity_ + capacity_ / 2);
  std::vector<std::shared_ptr<void>> grown(rows_.size());
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    const StateBuffer& buffer = layout_->buffers[i];
    if (!buffer.per_token) continue;
    grown[i] = where_->allocate(static_cast<std::size_t>(capacity) * row_bytes(buffer));
  }
  for_each_rows([&](std::size_t i, std::size_t bytes) {
    where_->copy(grown[i].get(), rows_[i].get(), bytes);
  });
  rows_ = std::move(grown);
  capacity_ = capacity;
}

std::size_t SequenceState::bytes() const noexcept {
  if (!layout_) return 0;
  return layout_->bytes + static_cast<std::size_t>(position_) * layout_->bytes_per_token;
}

void* SequenceState::buffer(std::size_t index) noexcept {
  const StateBuffer& buffer = layout_->buffers[index];
  if (buffer.per_token) return rows_[index].get();
  return static_cast<std::byte*>(memory_.get()) + buffer.offset;
}

const void* SequenceState::buffer(std::size_t index) const noexcept {
  return const_cast<SequenceState*>(this)->buffer(index);
}

std::string SequenceState::serialize() const {
  check(layout_ != nullptr, ErrorCode::invalid_argument, "a state without a model cannot be saved");
  std::string out(kMagic);
  append(out, static_cast<std::uint32_t>(layout_->fingerprint.size()));
  out += layout_->fingerprint;
  append(out, position_);
  append(out, static_cast<std::uint64_t>(bytes()));
  const auto append_bytes = [&](const void* from, std::size_t count) {
    out.resize(out.size() + count);
    where_->read(out.data() + out.size() - count, from, count);
  };
  append_bytes(memory_.get(), layout_->bytes);
  for_each_rows([&](std::size_t i, std::size_t count) { append_bytes(rows_[i].get(), count); });
  append(out, fnv1a64(out));
  return out;
}

SequenceState SequenceState::deserialize(std::string_view bytes,
                                         std::shared_ptr<const StateLayout> layout,
                                         std::string_view* rest, Memory& memory) {
  const int version = version_of(bytes);
  ByteReader reader(bytes, "the saved state");
  reader.take(kMagic.size());
  const std::string_view fingerprint = reader.take(reader.number<std::uint32_t>());
  const auto position = reader.number<std::int64_t>();
  const auto size = reader.number<std::uint64_t>();
  const std::string_view payload = reader.take(size);
  const std::string_view summed = bytes.substr(0, bytes.size() - reader.left().size());
  const auto checksum = reader.number<std::uint64_t>();
  check((rest && version > 2) || reader.left().empty(), ErrorCode::bad_data,
        "the saved state has {} bytes too many", reader.left().size());
  check(checksum == fnv1a64(summed), ErrorCode::bad_data,
        "the saved state is damaged: its checksum does not match");
  check(fingerprint == layout->fingerprint, ErrorCode::invalid_argument,
        "the saved state belongs to another model: its fingerprint is not {}", layout->fingerprint);
  std::size_t constant = 0, per_token = 0;  // bytes of the buffers that the version had
  bool has_all = true;
  for (const StateBuffer& buffer : layout->buffers) {
    has_all &= buffer.since <= version;
    if (buffer.since > version) continue;
    (buffer.per_token ? per_token : constant) +=
        buffer.per_token ? row_bytes(buffer) : padded(row_bytes(buffer));
  }
  // Divided, not multiplied: a hostile position must not overflow.
  const bool fits =
      position >= 0 && size >= constant &&
      (per_token == 0 ? size == constant
                      : (size - constant) % per_token == 0 &&
                            (size - constant) / per_token == static_cast<std::uint64_t>(position));
  check(fits, ErrorCode::bad_data,
        "the saved state at position {} has {} bytes, expected {} bytes and {} per token: it is "
        "damaged or of another version of krait",
        position, size, constant, per_token);
  check(has_all || position % kChunkOfVersion2 == 0, ErrorCode::bad_data,
        "the saved state is of version 2 ({}) at position {}: of such a model that version says "
        "enough where the position is a multiple of {}, consume the text again",
        kSecondMagic, position, kChunkOfVersion2);
  SequenceState state(std::move(layout), memory);
  state.reserve(position);
  state.position_ = position;
  const char* from = payload.data();
  const auto take = [&](void* to, std::size_t count) {
    if (count > 0) memory.write(to, from, count);
    from += count;
  };
  const std::vector<StateBuffer>& buffers = state.layout_->buffers;
  for (std::size_t i = 0; i < buffers.size(); ++i) {
    if (buffers[i].per_token || buffers[i].since > version) continue;
    take(state.buffer(i), padded(row_bytes(buffers[i])));
  }
  state.for_each_rows([&](std::size_t i, std::size_t count) {
    if (buffers[i].since <= version) take(state.rows_[i].get(), count);
  });
  if (rest) *rest = reader.left();
  return state;
}

}  // namespace krait
