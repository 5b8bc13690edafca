// Tables that line up.
#pragma once

#include <string>
#include <vector>

namespace krait {

/// Rows of cells under a header. A column whose cells all start like a number (or are "-") is
/// aligned to the right, the others to the left.
class Table {
 public:
  explicit Table(std::vector<std::string> header) : header_(std::move(header)) {}
  /// As many cells as the header has.
  void add(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  /// The table with two spaces between columns and no spaces at the end of lines; widths count
  /// characters, not bytes.
  std::string str() const;

 private:
  std::vector<std::string> header_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace krait
