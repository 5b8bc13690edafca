#include "report/table.h"

#include <algorithm>
#include <cctype>
#include <string_view>

namespace krait {
namespace {

std::size_t width(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  }));
}

bool like_number(std::string_view text) {
  if (text.empty() || text == "-") return true;
  if (text[0] == '+' || text[0] == '-' || text[0] == '~') text.remove_prefix(1);
  return !text.empty() &&
         (std::isdigit(static_cast<unsigned char>(text[0])) || text == "inf" || text == "nan");
}

}  // namespace

std::string Table::str() const {
  const std::size_t columns = header_.size();
  std::vector<std::size_t> widths(columns);
  std::vector<bool> right(columns, !rows_.empty());
  for (std::size_t c = 0; c < columns; ++c) {
    widths[c] = width(header_[c]);
    for (const auto& row : rows_) {
      widths[c] = std::max(widths[c], width(row[c]));
      right[c] = right[c] && like_number(row[c]);
    }
  }
  std::string text;
  const auto add_line = [&](const std::vector<std::string>& cells) {
    std::string line;
    for (std::size_t c = 0; c < columns; ++c) {
      const std::string gap(widths[c] - width(cells[c]), ' ');
      if (c > 0) line += "  ";
      line += right[c] ? gap + cells[c] : cells[c] + gap;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  };
  add_line(header_);
  std::vector<std::string> rule;
  rule.reserve(widths.size());
  for (const std::size_t w : widths) rule.emplace_back(w, '-');
  add_line(rule);
  for (const auto& row : rows_) add_line(row);
  return text;
}

}  // namespace krait
