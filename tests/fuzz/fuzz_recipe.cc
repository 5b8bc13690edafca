// Any bytes are a recipe that fits a model of each architecture, or are refused with a one-line
// Error.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "krait/error.h"
#include "models/test_attention.h"
#include "quant/recipe.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const krait::ModelLayout layouts[] = {
      layout_of(krait::tiny_mamba({.E = 40})), layout_of(krait::tiny_mamba2()),
      layout_of(krait::tiny_neox()), layout_of(krait::tiny_jamba())};
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const krait::ModelLayout& layout : layouts) {
    try {
      const krait::Json json = krait::parse_json(text, "fuzz.json", krait::DuplicateKeys::refuse);
      krait::fit_recipe(krait::parse_recipe(json, "fuzz.json"), layout);
    } catch (const krait::Error& error) {
      const std::string_view message = error.what();
      if (message.find('\n') != std::string_view::npos || message.size() > 4096) std::abort();
    }
  }
  return 0;
}
