// Pictures for reports: plain SVG without scripts or fonts of its own.
#pragma once

#include <string>
#include <vector>

namespace krait {

struct Point {
  double x = 0, y = 0;
  std::string label{};
  double low = 0, high = 0;  ///< an interval of y, drawn if they differ
};
struct Series {
  std::string name;
  std::vector<Point> points;
  bool joined = false;  ///< by a line from left to right
};
struct PlotText {
  std::string title, x_label, y_label;
};
struct PlotStyle {
  bool log_x = false, log_y = true;  ///< powers of ten; otherwise from 0, or from the least below
};

/// At least one point. On a logarithmic axis there must be values above 0, and others are left out.
/// A label stands beside its point where nothing else does, or nowhere.
std::string plot_svg(const PlotText& text, const std::vector<Series>& series,
                     const PlotStyle& style = {});

/// Values by row and column as coloured squares with their numbers, from white (least) to dark, on
/// a logarithmic scale. NaN: an empty square. As many values as rows times columns, row by row.
std::string heat_map_svg(const PlotText& text, const std::vector<std::string>& rows,
                         const std::vector<std::string>& columns,
                         const std::vector<double>& values);

}  // namespace krait
