// The directories that quantize() writes: what is in them, and which may be replaced.
#pragma once

#include <span>
#include <string>

#include "io/output_directory.h"

namespace krait {

/// Files that are copied from beside the weights, if they are there.
std::span<const char* const> copied_files() noexcept;

/// Files that quantize() writes or copies; marked by the block "krait" of config.json's
/// quantization_config, or by krait_version in the metadata of model.safetensors, which float
/// outputs have as well.
const OutputKind& quantized_directory() noexcept;

/// Before any work: may the checkpoint at `source` be quantized into `output`? Refused are the
/// source itself (invalid_argument), what exists unless `overwrite` (io_error), and even then
/// anything that check_replaceable() refuses and a directory that holds the source, lies in it or
/// has files that it links to, wherever links lead (invalid_argument).
void check_output(const std::string& source, const std::string& output, bool overwrite);

/// Removes a directory that quantize() has written, if it is there. Errors: as check_replaceable().
void remove_quantized(const std::string& directory);

}  // namespace krait
