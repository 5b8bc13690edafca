// What follows the state in a saved sequence: any bytes either restore to one that saves as the
// same bytes, or are refused with a one-line Error. The state before them is right, and so is their
// checksum, so that what lies behind it is reached.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>

#include "krait/error.h"
#include "models/byte_reader.h"
#include "models/fingerprint.h"
#include "runtime/sequence.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::shared_ptr<const krait::StateLayout> layout = [] {
    auto made = std::make_shared<krait::StateLayout>();
    made->add("conv_state", 0, krait::DType::i8, {3, 5});
    made->fingerprint = "0123456789abcdef";
    return made;
  }();
  constexpr std::int64_t kVocab = 3;
  krait::SequenceState state(layout);
  state.advance(4);
  std::string sections(reinterpret_cast<const char*>(data), size);
  krait::append(sections, krait::fnv1a64(sections));
  const std::string bytes = state.serialize() + sections;
  try {
    if (krait::restore_sequence(bytes, layout, kVocab, nullptr).save() != bytes) std::abort();
  } catch (const krait::Error& error) {
    if (std::string_view(error.what()).find('\n') != std::string_view::npos) std::abort();
  }
  return 0;
}
