// Any bytes are token ids of the vocabulary, or are refused with a one-line Error.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "krait/error.h"
#include "quant/calibration_data.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  for (const char* path : {"fuzz.npy", "fuzz.bin"}) {
    for (const std::int64_t vocab : {std::int64_t{100}, std::int64_t{100000}}) {
      try {
        for (krait::TokenId id : krait::parse_token_file(bytes, path, vocab)) {
          if (id < 0 || id >= vocab) std::abort();
        }
      } catch (const krait::Error& error) {
        if (std::string_view(error.what()).find('\n') != std::string_view::npos) std::abort();
      }
    }
  }
  return 0;
}
