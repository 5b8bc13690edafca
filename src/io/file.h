// Whole files as bytes, and files that are written piece by piece. Linux calls with errors as
// krait::Error: every message names the path and the system's reason.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace krait {

/// The whole file as bytes. Errors: not_found, io_error.
std::string read_file(const std::string& path);
/// Calls `piece` with one part of the file after the other. Errors: not_found, io_error.
void read_stream(const std::string& path, const std::function<void(std::string_view)>& piece);
/// Writes to a temporary name beside `path`, syncs, renames: all or nothing. Error: io_error.
void write_file_atomic(const std::string& path, std::string_view content);
/// Makes creations, renames and removals inside a directory durable. Error: io_error.
void sync_directory(const std::string& directory);
/// The directory that holds `path`: "." for a bare name.
std::string parent_directory(const std::string& path);

/// A new file, written under a temporary name beside `path` until commit(). The destructor removes
/// what was not committed: a failed run leaves nothing behind. All errors are io_error.
class OutputFile {
 public:
  explicit OutputFile(std::string path);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  const std::string& path() const noexcept { return path_; }
  /// Sets the size and takes the disk blocks now, so that a full disk is found before the work.
  void reserve(std::uint64_t bytes);
  void write_at(std::uint64_t offset, const void* data, std::size_t bytes);
  /// Syncs and gives the file its name, replacing one of that name.
  void commit();

 private:
  std::string path_, temporary_;
  int fd_ = -1;
};

}  // namespace krait
