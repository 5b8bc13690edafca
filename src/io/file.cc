#include "io/file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>
#include <vector>

#include "core/check.h"

namespace krait {
namespace {

/// Closes a descriptor at the end of a scope.
struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

}  // namespace

std::string parent_directory(const std::string& path) {
  const auto slash = path.find_last_of('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

void read_stream(const std::string& path, const std::function<void(std::string_view)>& piece) {
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.fd < 0) {
    fail(errno == ENOENT ? ErrorCode::not_found : ErrorCode::io_error, "cannot open {}: {}", path,
         std::strerror(errno));
  }
  std::vector<char> buffer(std::size_t{1} << 18);
  for (;;) {  // until the end and not until st_size: pipes and /proc have no size
    const ssize_t got = ::read(file.fd, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail(ErrorCode::io_error, "cannot read {}: {}", path, std::strerror(errno));
    if (got == 0) return;
    piece({buffer.data(), static_cast<std::size_t>(got)});
  }
}

std::string read_file(const std::string& path) {
  std::string content;
  read_stream(path, [&](std::string_view piece) { content += piece; });
  return content;
}

void write_file_atomic(const std::string& path, std::string_view content) {
  OutputFile file(path);
  file.write_at(0, content.data(), content.size());
  file.commit();
}

void sync_directory(const std::string& directory) {
  const Descriptor file{::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  // Some network file systems cannot sync a directory and say EINVAL: nothing more can be done.
  if (file.fd < 0 || (::fsync(file.fd) != 0 && errno != EINVAL)) {
    fail(ErrorCode::io_error, "cannot sync the directory {}: {}", directory, std::strerror(errno));
  }
}

OutputFile::OutputFile(std::string path) : path_(std::move(path)) {
  static std::atomic<unsigned> counter{0};
  temporary_ = fmt::format("{}.{}-{}.tmp", path_, ::getpid(), counter.fetch_add(1));
  fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  check(fd_ >= 0, ErrorCode::io_error, "cannot create {}: {}", path_, std::strerror(errno));
}

OutputFile::~OutputFile() {
  if (fd_ >= 0) ::close(fd_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void OutputFile::reserve(std::uint64_t bytes) {
  if (bytes == 0) return;
  int error = ::posix_fallocate(fd_, 0, static_cast<off_t>(bytes));
  // A file system without fallocate is emulated by glibc or refused: then the size alone is set.
  if (error == EOPNOTSUPP || error == EINVAL) {
    error = ::ftruncate(fd_, static_cast<off_t>(bytes)) == 0 ? 0 : errno;
  }
  check(error == 0, ErrorCode::io_error, "cannot write {}: {} bytes are needed: {}", path_, bytes,
        std::strerror(error));
}

void OutputFile::write_at(std::uint64_t offset, const void* data, std::size_t bytes) {
  const char* from = static_cast<const char*>(data);
  std::size_t left = bytes;
  while (left > 0) {
    // Linux writes at most about 2 GiB in one call.
    const ssize_t put = ::pwrite(fd_, from, std::min<std::size_t>(left, std::size_t{1} << 30),
                                 static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR) continue;
    check(put > 0, ErrorCode::io_error, "cannot write {}: {} bytes at offset {}: {}", path_, left,
          offset, put == 0 ? "nothing was written" : std::strerror(errno));
    from += put;
    offset += static_cast<std::uint64_t>(put);
    left -= static_cast<std::size_t>(put);
  }
}

void OutputFile::commit() {
  check(::fsync(fd_) == 0, ErrorCode::io_error, "cannot sync {}: {}", path_, std::strerror(errno));
  check(::rename(temporary_.c_str(), path_.c_str()) == 0, ErrorCode::io_error,
        "cannot rename {} to {}: {}", temporary_, path_, std::strerror(errno));
  temporary_.clear();
  sync_directory(parent_directory(path_));
}

}  // namespace krait
