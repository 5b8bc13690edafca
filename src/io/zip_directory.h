// The directory of a zip archive whose entries are stored, not compressed, as torch.save writes it.
// Format: PKWARE APPNOTE 6.3, sections 4.3.7 (local header), 4.3.12 (central directory), 4.3.14 to
// 4.3.16 (ends), 4.5.3 (zip64).
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <string>

namespace krait {

struct ZipEntry {
  const std::byte* data = nullptr;
  std::size_t size = 0;
};

/// Entry name to content, which lies in the archive. Everything is bounds-checked; checksums are
/// not verified, so that opening a file does not read all of it. Errors: bad_data; unsupported for
/// a compressed or encrypted entry.
std::map<std::string, ZipEntry, std::less<>> read_zip_directory(const std::byte* data,
                                                                std::size_t size,
                                                                const std::string& where);

}  // namespace krait
