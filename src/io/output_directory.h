// A directory of results that appears whole or not at all.
#pragma once

#include <string>
#include <string_view>

namespace krait {

/// What a writer's directories are made of, by which it knows its own again.
struct OutputKind {
  const char* writer;                     ///< for messages: "krait quantize"
  bool (*writes)(std::string_view name);  ///< whether it makes files of that name
  /// Whether a directory that holds nothing but such files is one that the writer has made.
  bool (*is_marked)(const std::string& directory);
};

/// Refuses a directory that holds anything which its writer did not make, be it one file or a
/// subdirectory, naming it, or that is not marked (io_error). An empty one may be replaced.
void check_replaceable(const std::string& directory, const OutputKind& kind);

/// Files are written into `<path>.partial` beside the final path; commit() syncs and renames it.
/// A lock file keeps two writers of one path apart; what a killed run left behind is cleared by the
/// next, if it is that: files of other makers stay, and are an error. The destructor without
/// commit() removes the partial directory. All errors are io_error.
class OutputDirectory {
 public:
  /// Refuses an existing `path` unless `overwrite`; and even then all that check_replaceable()
  /// does. Creates missing parents.
  OutputDirectory(std::string path, const OutputKind& kind, bool overwrite);
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
  OutputKind kind_;
  bool overwrite_;
  int lock_ = -1;
};

}  // namespace krait
