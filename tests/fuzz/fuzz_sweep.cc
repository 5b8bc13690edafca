// Any bytes describe a sweep or are refused with a one-line Error.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "krait/error.h"
#include "report/sweep_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    krait::parse_sweep(krait::parse_json(text, "sweep.json"), "sweep.json");
  } catch (const krait::Error& error) {
    if (std::string_view(error.what()).find('\n') != std::string_view::npos) std::abort();
  }
  return 0;
}
