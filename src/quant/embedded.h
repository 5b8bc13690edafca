// Files that are part of the library: the shipped recipes and the calibration text, so that
// `krait quantize` needs nothing beside the program.
#pragma once

#include <span>
#include <string_view>

namespace krait {

struct EmbeddedFile {
  std::string_view name;  ///< without directory and extension: "quamba-w8a8"
  std::string_view content;
};

/// recipes/*.json, sorted by name.
std::span<const EmbeddedFile> embedded_recipes() noexcept;
/// share/calibration.txt.
std::string_view embedded_calibration_text() noexcept;

}  // namespace krait
