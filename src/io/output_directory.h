// A directory of results that appears whole or not at all.
#pragma once

#include <string>

namespace krait {

/// Files are written into `<path>.partial` beside the final path; commit() syncs and renames it.
/// A lock file keeps two writers of one path apart; what a killed run left behind is cleared by the
/// next. The destructor without commit() removes the partial directory. All errors are io_error.
class OutputDirectory {
 public:
  /// Refuses an existing `path` unless `overwrite`; and even then one that is neither empty nor
  /// holds a config.json, so that a slip of the keyboard replaces no home directory. Creates
  /// missing parents.
  OutputDirectory(std::string path, bool overwrite);
  ~OutputDirectory();
  OutputDirectory(const OutputDirectory&) = delete;
  OutputDirectory& operator=(const OutputDirectory&) = delete;

  /// Where to write the file that will be `<final path>/<name>`.
  std::string path(const std::string& name) const { return partial_ + "/" + name; }
  const std::string& final_path() const noexcept { return path_; }
  /// Makes everything durable and visible. With `overwrite` the old directory is exchanged for the
  /// new one in one step (where the file system can) and then removed.
  void commit();

 private:
  void check_absent() const;
  void release_lock() noexcept;

  std::string path_, partial_, lock_path_;
  bool overwrite_;
  int lock_ = -1;
};

}  // namespace krait
