// Pictures for reports: plain SVG without scripts or fonts of its own.
#pragma once

#include <string>
#include <vector>

namespace krait::cli {

struct Point {
  double x = 0, y = 0;
  std::string label;
};
struct Series {
  std::string name;
  std::vector<Point> points;
};
struct PlotText {
  std::string title, x_label, y_label;
};

/// Points with labels; x linear from 0, y logarithmic. All values above 0; at least one point.
std::string scatter_svg(const PlotText& text, const std::vector<Series>& series);

}  // namespace krait::cli
