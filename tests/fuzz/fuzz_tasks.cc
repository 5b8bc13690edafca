// Any bytes are the items of a task or are refused with a one-line Error.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "eval/tasks.h"
#include "krait/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const auto names = krait::task_names();
  for (const std::string& name : names) {
    try {
      krait::parse_task(name, {reinterpret_cast<const char*>(data), size});
    } catch (const krait::Error& error) {
      if (std::string_view(error.what()).find('\n') != std::string_view::npos) std::abort();
    }
  }
  return 0;
}
