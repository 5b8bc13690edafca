// Files that are part of the library: the shipped recipes and the calibration text, so that
// `krait quantize` needs nothing beside the program.
#pragma once

#include <span>
#include <string_view>

namespace krait {

struct EmbeddedRecipe {
  std::string_view name;    ///< without directory and extension: "quamba-w8a8"
  std::string_view folder;  ///< below recipes/: "", "ablations" or "baselines"
  std::string_view content;
};

/// recipes/**/*.json: those of recipes/ itself first, each folder sorted by name.
std::span<const EmbeddedRecipe> embedded_recipes() noexcept;
/// share/calibration.txt.
std::string_view embedded_calibration_text() noexcept;

}  // namespace krait
