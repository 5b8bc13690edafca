#include "io/zip_directory.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "core/check.h"
#include "core/printable.h"

namespace krait {
namespace {

static_assert(std::endian::native == std::endian::little, "zip fields are read in place");

constexpr std::uint32_t kLocalHeader = 0x04034b50;
constexpr std::uint32_t kCentralHeader = 0x02014b50;
constexpr std::uint32_t kEnd = 0x06054b50;
constexpr std::uint32_t kEnd64Locator = 0x07064b50;
constexpr std::uint32_t kEnd64 = 0x06064b50;
constexpr std::uint64_t kEndSize = 22, kEnd64Size = 56, kLocatorSize = 20;
constexpr std::uint64_t kCentralSize = 46, kLocalSize = 30;
constexpr std::uint16_t kZip64Tag = 1;
constexpr std::uint64_t kSeeZip64 = 0xffffffff;

/// A piece of the archive with bounds-checked reads.
struct Bytes {
  const std::byte* data;
  std::uint64_t size;
  const std::string& where;

  void need(std::uint64_t offset, std::uint64_t bytes, std::string_view what) const {
    check(offset <= size && bytes <= size - offset, ErrorCode::bad_data,
          "{}: the zip archive is truncated or damaged: expected {} bytes of {} at offset {}, "
          "there are {} in all",
          where, bytes, what, offset, size);
  }
  template <typename T>
  T at(std::uint64_t offset, std::string_view what) const {
    need(offset, sizeof(T), what);
    T value;
    std::memcpy(&value, data + offset, sizeof value);
    return value;
  }
  std::string_view text(std::uint64_t offset, std::uint64_t bytes, std::string_view what) const {
    need(offset, bytes, what);
    return {reinterpret_cast<const char*>(data) + offset, bytes};
  }
};

struct Directory {
  std::uint64_t entries, size, offset;
};

std::uint64_t find_end(const Bytes& zip) {
  check(zip.size >= kEndSize, ErrorCode::bad_data, "{}: not a zip archive: only {} bytes",
        zip.where, zip.size);
  const std::uint64_t last = zip.size - kEndSize;
  const std::uint64_t first = last - std::min<std::uint64_t>(last, 0xffff);  // the longest comment
  for (std::uint64_t at = last + 1; at-- > first;) {
    if (zip.at<std::uint32_t>(at, "end") == kEnd &&
        zip.at<std::uint16_t>(at + 20, "end") == last - at) {
      return at;
    }
  }
  fail(ErrorCode::bad_data, "{}: not a zip archive, or truncated: it has no end record", zip.where);
}

Directory find_directory(const Bytes& zip) {
  const std::uint64_t end = find_end(zip);
  Directory directory{zip.at<std::uint16_t>(end + 10, "end"),
                      zip.at<std::uint32_t>(end + 12, "end"),
                      zip.at<std::uint32_t>(end + 16, "end")};
  const bool is_zip64 =
      end >= kLocatorSize && zip.at<std::uint32_t>(end - kLocatorSize, "locator") == kEnd64Locator;
  if (is_zip64) {
    const auto end64 = zip.at<std::uint64_t>(end - kLocatorSize + 8, "locator");
    zip.need(end64, kEnd64Size, "zip64 end record");
    check(zip.at<std::uint32_t>(end64, "zip64 end record") == kEnd64, ErrorCode::bad_data,
          "{}: the zip archive is damaged: no zip64 end record at offset {}", zip.where, end64);
    directory = {zip.at<std::uint64_t>(end64 + 32, "end"), zip.at<std::uint64_t>(end64 + 40, "end"),
                 zip.at<std::uint64_t>(end64 + 48, "end")};
  }
  zip.need(directory.offset, directory.size, "directory");
  check(directory.entries <= directory.size / kCentralSize, ErrorCode::bad_data,
        "{}: the zip archive is damaged: a directory of {} bytes cannot hold {} entries", zip.where,
        directory.size, directory.entries);
  return directory;
}

/// Replaces the fields that say 0xffffffff by those of the zip64 extra field.
void read_zip64(const Bytes& extra, std::uint64_t& size, std::uint64_t& stored,
                std::uint64_t& offset) {
  std::uint64_t at = 0;
  while (at < extra.size) {
    const auto tag = extra.at<std::uint16_t>(at, "extra field");
    const auto length = extra.at<std::uint16_t>(at + 2, "extra field");
    extra.need(at + 4, length, "extra field");
    if (tag == kZip64Tag) {
      const Bytes field{extra.data + at + 4, length, extra.where};
      std::uint64_t next = 0;
      for (std::uint64_t* value : {&size, &stored, &offset}) {
        if (*value != kSeeZip64) continue;
        *value = field.at<std::uint64_t>(next, "zip64 field");
        next += 8;
      }
      return;
    }
    at += 4 + std::uint64_t{length};
  }
}

ZipEntry find_content(const Bytes& zip, std::uint64_t local, std::uint64_t size) {
  zip.need(local, kLocalSize, "local header");
  check(zip.at<std::uint32_t>(local, "local header") == kLocalHeader, ErrorCode::bad_data,
        "{}: the zip archive is damaged: no local header at offset {}", zip.where, local);
  const std::uint64_t begin = local + kLocalSize +
                              zip.at<std::uint16_t>(local + 26, "name length") +
                              zip.at<std::uint16_t>(local + 28, "extra length");
  zip.need(begin, size, "content");
  return {zip.data + begin, size};
}

}  // namespace

std::map<std::string, ZipEntry, std::less<>> read_zip_directory(const std::byte* data,
                                                                std::size_t size,
                                                                const std::string& where) {
  const Bytes zip{data, size, where};
  const Directory directory = find_directory(zip);
  const Bytes central{data + directory.offset, directory.size, where};
  std::map<std::string, ZipEntry, std::less<>> entries;
  std::uint64_t at = 0;
  for (std::uint64_t i = 0; i < directory.entries; ++i) {
    central.need(at, kCentralSize, "directory");
    check(central.at<std::uint32_t>(at, "directory") == kCentralHeader, ErrorCode::bad_data,
          "{}: the zip archive is damaged: entry {} of the directory is none", where, i);
    const auto flags = central.at<std::uint16_t>(at + 8, "directory");
    const auto method = central.at<std::uint16_t>(at + 10, "directory");
    std::uint64_t stored = central.at<std::uint32_t>(at + 20, "directory");
    std::uint64_t bytes = central.at<std::uint32_t>(at + 24, "directory");
    const std::uint64_t name_length = central.at<std::uint16_t>(at + 28, "directory");
    const std::uint64_t extra_length = central.at<std::uint16_t>(at + 30, "directory");
    const std::uint64_t comment_length = central.at<std::uint16_t>(at + 32, "directory");
    std::uint64_t local = central.at<std::uint32_t>(at + 42, "directory");
    const std::string_view name = central.text(at + kCentralSize, name_length, "entry name");
    const std::uint64_t extra_at = at + kCentralSize + name_length;
    central.need(extra_at, extra_length + comment_length, "directory");
    read_zip64({central.data + extra_at, extra_length, where}, bytes, stored, local);
    check((flags & 1) == 0, ErrorCode::unsupported, "{}: the zip entry {} is encrypted", where,
          printable(name));
    check(method == 0, ErrorCode::unsupported,
          "{}: the zip entry {} is compressed (method {}), expected stored", where, printable(name),
          method);
    check(stored == bytes, ErrorCode::bad_data,
          "{}: the zip entry {} is stored in {} bytes, expected {}", where, printable(name), stored,
          bytes);
    const bool is_new =
        entries.try_emplace(std::string(name), find_content(zip, local, bytes)).second;
    check(is_new, ErrorCode::bad_data, "{}: the zip archive has two entries {}", where,
          printable(name));
    at = extra_at + extra_length + comment_length;
  }
  return entries;
}

}  // namespace krait
