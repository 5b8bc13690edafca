#include "models/state.h"

#include <bit>
#include <cstring>

#include "core/check.h"
#include "core/memory.h"
#include "models/fingerprint.h"

namespace krait {
namespace {

static_assert(std::endian::native == std::endian::little, "saved states are little-endian");

constexpr std::string_view kMagic = "KRSTATE1";

template <typename T>
void append(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

/// Reads from the front of `bytes`.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}
  std::string_view take(std::uint64_t count) {
    check(count <= bytes_.size(), ErrorCode::bad_data,
          "the saved state is truncated: {} more bytes expected, {} left", count, bytes_.size());
    const std::string_view part = bytes_.substr(0, count);
    bytes_.remove_prefix(count);
    return part;
  }
  template <typename T>
  T number() {
    T value;
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }
  std::size_t left() const noexcept { return bytes_.size(); }

 private:
  std::string_view bytes_;
};

}  // namespace

std::size_t StateLayout::add(std::string name, int layer, DType dtype, const Shape& shape) {
  const std::size_t size = static_cast<std::size_t>(shape.elements()) * size_of(dtype);
  buffers.push_back({std::move(name), layer, dtype, shape, bytes});
  bytes += (size + 63) / 64 * 64;
  return buffers.size() - 1;
}

SequenceState::SequenceState(std::shared_ptr<const StateLayout> layout)
    : layout_(std::move(layout)), memory_(allocate_aligned(layout_->bytes)) {}

SequenceState::SequenceState(const SequenceState& other)
    : layout_(other.layout_), position_(other.position_) {
  if (!layout_) return;
  memory_ = allocate_aligned(layout_->bytes);
  std::memcpy(memory_.get(), other.memory_.get(), layout_->bytes);
}

SequenceState& SequenceState::operator=(const SequenceState& other) {
  if (this != &other) *this = SequenceState(other);
  return *this;
}

void SequenceState::reset() {
  if (layout_) std::memset(memory_.get(), 0, layout_->bytes);
  position_ = 0;
}

void* SequenceState::buffer(std::size_t index) noexcept {
  return static_cast<std::byte*>(memory_.get()) + layout_->buffers[index].offset;
}

const void* SequenceState::buffer(std::size_t index) const noexcept {
  return static_cast<const std::byte*>(memory_.get()) + layout_->buffers[index].offset;
}

std::string SequenceState::serialize() const {
  check(layout_ != nullptr, ErrorCode::invalid_argument, "a state without a model cannot be saved");
  std::string out(kMagic);
  append(out, static_cast<std::uint32_t>(layout_->fingerprint.size()));
  out += layout_->fingerprint;
  append(out, position_);
  append(out, static_cast<std::uint64_t>(layout_->bytes));
  out.append(static_cast<const char*>(memory_.get()), layout_->bytes);
  append(out, fnv1a64(out));
  return out;
}

SequenceState SequenceState::deserialize(std::string_view bytes,
                                         std::shared_ptr<const StateLayout> layout) {
  Reader reader(bytes);
  check(bytes.starts_with(kMagic), ErrorCode::bad_data,
        "this is not a saved state: it does not start with {}", kMagic);
  reader.take(kMagic.size());
  const std::string_view fingerprint = reader.take(reader.number<std::uint32_t>());
  const auto position = reader.number<std::int64_t>();
  const auto size = reader.number<std::uint64_t>();
  const std::string_view payload = reader.take(size);
  const auto checksum = reader.number<std::uint64_t>();
  check(reader.left() == 0, ErrorCode::bad_data, "the saved state has {} bytes too many",
        reader.left());
  check(checksum == fnv1a64(bytes.substr(0, bytes.size() - sizeof checksum)), ErrorCode::bad_data,
        "the saved state is damaged: its checksum does not match");
  check(fingerprint == layout->fingerprint, ErrorCode::invalid_argument,
        "the saved state belongs to another model: its fingerprint is not {}",
        layout->fingerprint);
  check(position >= 0 && size == layout->bytes, ErrorCode::bad_data,
        "the saved state has position {} and {} bytes, expected {} bytes", position, size,
        layout->bytes);
  SequenceState state(std::move(layout));
  std::memcpy(state.memory_.get(), payload.data(), size);
  state.position_ = position;
  return state;
}

}  // namespace krait
