// Any bytes either restore to a state that saves as the same bytes, or as the third version if they
// are of the second, or are refused with a one-line Error. The checksum is repaired first, so that
// what lies behind it is reached.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>

#include "krait/error.h"
#include "models/fingerprint.h"
#include "models/state.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using krait::SequenceState;
  const auto make_layout = [](bool grows, bool has_more) {
    auto made = std::make_shared<krait::StateLayout>();
    made->add("conv_state", 0, krait::DType::i8, {3, 5});
    if (has_more) {
      made->add("recent", 0, krait::DType::f32, {2, 3});
      made->buffers.back().since = 3;
    }
    if (grows) made->add_per_token("k_cache", 1, krait::DType::f16, {3});
    made->fingerprint = "0123456789abcdef";
    return made;
  };
  static const std::shared_ptr<const krait::StateLayout> layouts[] = {
      make_layout(false, false), make_layout(true, false), make_layout(true, true)};
  std::string bytes(reinterpret_cast<const char*>(data), size);
  if (size >= 8) {
    const std::uint64_t checksum = krait::fnv1a64(std::string_view(bytes).substr(0, size - 8));
    std::memcpy(bytes.data() + size - 8, &checksum, 8);
  }
  for (const auto& layout : layouts) {
    try {
      const std::string saved = SequenceState::deserialize(bytes, layout).serialize();
      if (bytes.starts_with("KRSTATE3") && saved != bytes) std::abort();
      if (SequenceState::deserialize(saved, layout).serialize() != saved) std::abort();
    } catch (const krait::Error& error) {
      if (std::string_view(error.what()).find('\n') != std::string_view::npos) std::abort();
    }
  }
  return 0;
}
