// Any bytes either open and every tensor can be read, or are refused with a one-line Error.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "io/safetensors.h"
#include "krait/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    krait::validate_safetensors(reinterpret_cast<const std::byte*>(data), size, "fuzz");
  } catch (const krait::Error& error) {
    if (std::string_view(error.what()).find('\n') != std::string_view::npos) std::abort();
  }
  return 0;
}
