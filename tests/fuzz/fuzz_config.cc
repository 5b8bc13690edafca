// Any config.json either describes a model with the tensors of a small checkpoint of each
// architecture or is refused with a one-line Error.
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string_view>

#include "io/json.h"
#include "krait/error.h"
#include "models/config.h"
#include "models/model.h"
#include "models/test_attention.h"

namespace {

/// Returns or throws a one-line Error.
void describe(const krait::Json& config, const krait::TensorSource& tensors) {
  try {
    const krait::ModelLayout layout = krait::describe_model(config, tensors);
    krait::parse_numerics(config, layout);
  } catch (const krait::Error& error) {
    if (std::string_view(error.what()).find('\n') != std::string_view::npos) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::shared_ptr<krait::TensorSource> checkpoints[] = {
      krait::tiny_mamba().source(), krait::tiny_mamba2().source(), krait::tiny_neox().source(),
      krait::tiny_jamba().source(), krait::tiny_bamba().source()};
  try {
    const krait::Json config =
        krait::parse_json({reinterpret_cast<const char*>(data), size}, "config.json");
    for (const auto& tensors : checkpoints) describe(config, *tensors);
    krait::eos_token_ids(config, config, 61);
  } catch (const krait::Error& error) {
    if (std::string_view(error.what()).find('\n') != std::string_view::npos) std::abort();
  }
  return 0;
}
