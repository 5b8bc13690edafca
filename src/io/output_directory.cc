#include "io/output_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <utility>

#include "core/check.h"
#include "io/file.h"

namespace krait {
namespace {

namespace fs = std::filesystem;

void remove_tree(const std::string& path) {
  std::error_code error;
  fs::remove_all(path, error);
  check(!error, ErrorCode::io_error, "cannot remove {}: {}", path, error.message());
}

/// Without what OutputFile adds to the name of a file that is not committed, ".123-4.tmp".
std::string_view committed_name(std::string_view name) {
  if (!name.ends_with(".tmp")) return name;
  const std::size_t dot = name.substr(0, name.size() - 4).find_last_of('.');
  return dot == std::string_view::npos ? name : name.substr(0, dot);
}

/// Refuses a directory with anything but regular files whose names are the writer's.
void check_own_files(const std::string& directory, const OutputKind& kind, bool unfinished) {
  try {
    for (const auto& entry : fs::directory_iterator(directory)) {
      const std::string name = entry.path().filename().string();
      const bool is_own = entry.symlink_status().type() == fs::file_type::regular &&
                          kind.writes(unfinished ? committed_name(name) : name);
      check(is_own, ErrorCode::io_error,
            "{} holds {}, which {} does not write: it is not replaced; move that away or choose "
            "another output",
            directory, name, kind.writer);
    }
  } catch (const fs::filesystem_error& error) {
    fail(ErrorCode::io_error, "cannot list {}: {}", directory, error.code().message());
  }
}

/// Removes what is at hand of a run that was killed.
void remove_unfinished(const std::string& path, const OutputKind& kind) {
  std::error_code ignored;
  const auto status = fs::symlink_status(path, ignored);
  if (!fs::exists(status)) return;
  check(fs::is_directory(status), ErrorCode::io_error,
        "{} is in the way: it is not a directory that {} was writing", path, kind.writer);
  check_own_files(path, kind, true);
  remove_tree(path);
}

void rename_path(const std::string& from, const std::string& to) {
  check(std::rename(from.c_str(), to.c_str()) == 0, ErrorCode::io_error,
        "cannot rename {} to {}: {}", from, to, std::strerror(errno));
}

void sync_file(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  const bool synced = fd >= 0 && ::fsync(fd) == 0;
  const int error = errno;
  if (fd >= 0) ::close(fd);
  check(synced, ErrorCode::io_error, "cannot sync {}: {}", path, std::strerror(error));
}

void sync_tree(const std::string& directory) {
  try {
    for (const auto& entry : fs::recursive_directory_iterator(directory)) {
      if (entry.is_directory()) sync_directory(entry.path().string());
      if (entry.is_regular_file()) sync_file(entry.path().string());
    }
  } catch (const fs::filesystem_error& error) {
    fail(ErrorCode::io_error, "cannot list {}: {}", directory, error.code().message());
  }
  sync_directory(directory);
}

/// Puts `fresh` in the place of the directory `path`, in one step where the kernel can exchange two
/// names, and removes the old one.
void replace(const std::string& fresh, const std::string& path, const OutputKind& kind) {
  if (::renameat2(AT_FDCWD, fresh.c_str(), AT_FDCWD, path.c_str(), RENAME_EXCHANGE) == 0) {
    remove_tree(fresh);
    return;
  }
  const std::string old = fresh + ".old";
  remove_unfinished(old, kind);
  rename_path(path, old);
  try {
    rename_path(fresh, path);
  } catch (const Error&) {
    std::rename(old.c_str(), path.c_str());
    throw;
  }
  remove_tree(old);
}

/// Opens and locks the lock file. A holder removes it while it still has the lock, so the one
/// locked may no longer be the one of that name: then it is tried again.
int take_lock(const std::string& lock_path, const std::string& path) {
  for (;;) {
    struct stat there {};
    check(
        ::lstat(lock_path.c_str(), &there) != 0 || (S_ISREG(there.st_mode) && there.st_size == 0),
        ErrorCode::io_error,
        "{} is in the way: a lock beside the output is an empty file, and this one is not krait's",
        lock_path);
    const int fd = ::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    check(fd >= 0, ErrorCode::io_error, "cannot create {}: {}", lock_path, std::strerror(errno));
    if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
      const int error = errno;
      ::close(fd);
      if (error == EWOULDBLOCK) {
        fail(ErrorCode::io_error, "another process is writing {}: {} is locked", path, lock_path);
      }
      fail(ErrorCode::io_error, "cannot lock {}: {}", lock_path, std::strerror(error));
    }
    struct stat ours {
    }, named{};
    if (::fstat(fd, &ours) == 0 && ::stat(lock_path.c_str(), &named) == 0 &&
        ours.st_ino == named.st_ino && ours.st_dev == named.st_dev) {
      return fd;
    }
    ::close(fd);
  }
}

std::string without_trailing_slashes(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

}  // namespace

void check_replaceable(const std::string& directory, const OutputKind& kind) {
  std::error_code ignored;
  check(fs::is_directory(fs::symlink_status(directory, ignored)), ErrorCode::io_error,
        "{} exists and is not a directory", directory);
  check_own_files(directory, kind, false);
  check(fs::is_empty(directory, ignored) || kind.is_marked(directory), ErrorCode::io_error,
        "{} was not written by {}: it is not replaced; remove it yourself or choose another output",
        directory, kind.writer);
}

OutputDirectory::OutputDirectory(std::string path, const OutputKind& kind, bool overwrite)
    : path_(without_trailing_slashes(std::move(path))),
      partial_(path_ + ".partial"),
      lock_path_(path_ + ".lock"),
      kind_(kind),
      overwrite_(overwrite) {
  check(!path_.empty(), ErrorCode::io_error, "the output directory has no name");
  check_absent();
  std::error_code error;
  fs::create_directories(parent_directory(path_), error);
  check(!error, ErrorCode::io_error, "cannot create {}: {}", parent_directory(path_),
        error.message());
  lock_ = take_lock(lock_path_, path_);
  try {
    remove_unfinished(partial_, kind_);
    check(::mkdir(partial_.c_str(), 0777) == 0, ErrorCode::io_error, "cannot create {}: {}",
          partial_, std::strerror(errno));
  } catch (...) {
    release_lock();
    throw;
  }
}

OutputDirectory::~OutputDirectory() {
  if (lock_ < 0) return;
  std::error_code ignored;  // a destructor has nobody to tell; the next run clears it
  fs::remove_all(partial_, ignored);
  release_lock();
}

void OutputDirectory::commit() {
  check(lock_ >= 0, ErrorCode::io_error, "{} is committed twice", path_);
  check_absent();
  sync_tree(partial_);
  std::error_code ignored;
  if (fs::exists(fs::symlink_status(path_, ignored))) {
    replace(partial_, path_, kind_);
  } else {
    rename_path(partial_, path_);
  }
  sync_directory(parent_directory(path_));
  release_lock();
}

void OutputDirectory::check_absent() const {
  std::error_code ignored;
  if (!fs::exists(fs::symlink_status(path_, ignored))) return;
  check(overwrite_, ErrorCode::io_error, "{} exists already", path_);
  check_replaceable(path_, kind_);
}

void OutputDirectory::release_lock() noexcept {
  if (lock_ < 0) return;
  ::unlink(lock_path_.c_str());
  ::close(lock_);
  lock_ = -1;
}

}  // namespace krait
