// The safetensors format: u64 little-endian header length, JSON header, data.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "io/tensor_source.h"

namespace krait {

/// Maps one file and validates its header: length within the file and at most 100 MB, no overlap,
/// no holes, no duplicate key, known dtype, shape times size equal to the range, offsets in range.
/// Errors (bad_data) name the file and the tensor, with expected and got.
std::shared_ptr<TensorSource> open_safetensors(const std::string& path);
/// The header's __metadata__ of an opened or given file.
std::map<std::string, std::string> safetensors_metadata(const std::string& path);

/// Parses and validates a whole image in memory (what the fuzzer calls).
void validate_safetensors(const std::byte* data, std::size_t size, const std::string& where);

/// Streams tensors to `path` (created; must not exist), each 64-byte aligned, synced in finish().
/// A full disk is one io_error that names the file and the bytes wanted.
std::unique_ptr<TensorSink> make_safetensors_sink(const std::string& path,
                                                  std::map<std::string, std::string> metadata);

}  // namespace krait
