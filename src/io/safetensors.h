// The safetensors format: u64 little-endian header length, JSON header, data.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <span>
#include <string>

#include "io/tensor_source.h"

namespace krait {

/// Maps one file and validates its header: length within the file and at most 100 MB, no overlap,
/// no holes, no duplicate key, known dtype, shape times size equal to the range, offsets in range,
/// at most four dimensions. Errors (bad_data, or unsupported for a dtype that krait does not know)
/// name the file and the tensor, with expected and got. Tensors are borrowed from the mapping;
/// those whose offset is no multiple of their element size are copied on get().
std::shared_ptr<TensorSource> open_safetensors(const std::string& path);
/// The same of bytes in memory, which `owner` keeps alive.
std::shared_ptr<TensorSource> parse_safetensors(std::span<const std::byte> bytes,
                                                std::shared_ptr<const void> owner,
                                                const std::string& where);
/// The header's __metadata__, after the same validation.
std::map<std::string, std::string> safetensors_metadata(const std::string& path);

/// Parses and validates a whole image in memory and reads every tensor (what the fuzzer calls).
void validate_safetensors(const std::byte* data, std::size_t size, const std::string& where);

/// Streams tensors to `path`, which must not exist: written under a temporary name, which finish()
/// syncs and renames. The format allows no holes, so the layout puts tensors whose size is a
/// multiple of 64 bytes first, in the order of declaration: those are all 64-byte aligned in the
/// file. The others follow by falling alignment of their size, so that each is aligned to its
/// element size. The whole file is reserved at the first write: a full disk is one io_error that
/// names the file and the bytes wanted.
std::unique_ptr<TensorSink> make_safetensors_sink(const std::string& path,
                                                  std::map<std::string, std::string> metadata);

}  // namespace krait
