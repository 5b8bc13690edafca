// Any bytes either parse or are refused with a one-line Error.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "io/json.h"
#include "krait/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const auto duplicates : {krait::DuplicateKeys::keep_last, krait::DuplicateKeys::refuse}) {
    try {
      krait::parse_json(text, "fuzz.json", duplicates).dump();
    } catch (const krait::Error& error) {
      if (std::string_view(error.what()).find('\n') != std::string_view::npos) std::abort();
    }
  }
  return 0;
}
