#include "report/plot.h"

#include <gtest/gtest.h>

#include <cmath>

namespace krait {
namespace {

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) {
    ++found;
  }
  return found;
}

TEST(Plot, ScatterHasPointsLabelsAndLegend) {
  const std::string svg =
      plot_svg({"a < b", "bits", "KL"}, {{"one", {{8, 0.01, "w8&a8"}}}, {"two", {{4, 0.1, "w4"}}}});
  EXPECT_EQ(count(svg, "<circle"), 4u);  // two points, two in the legend
  EXPECT_NE(svg.find("a &lt; b"), std::string::npos);
  EXPECT_NE(svg.find("w8&amp;a8"), std::string::npos);
  EXPECT_EQ(count(svg, "<polyline"), 0u);
  EXPECT_TRUE(svg.ends_with("</svg>\n"));
}

TEST(Plot, LabelsAreNotWrittenOverEachOther) {
  // Of nine labels at one place as many as fit stand on its sides.
  Series crowd{"s", {}};
  for (int i = 0; i < 9; ++i) crowd.points.push_back({2 + 0.001 * i, 0.1, "label"});
  crowd.points.push_back({8, 0.01, "third"});
  const std::string svg = plot_svg({}, {crowd});
  EXPECT_EQ(count(svg, ">label</text>"), 6u);
  EXPECT_EQ(count(svg, ">third</text>"), 1u);
  EXPECT_EQ(count(svg, "<title>label</title>"), 9u);  // the points still tell
}

TEST(Plot, LabelsAreNotWrittenOverPointsNorLines) {
  const auto label_x = [](const Series& series) {
    const std::string svg = plot_svg({}, {series});
    const std::size_t text = svg.find(">first</text>");
    EXPECT_NE(text, std::string::npos) << svg;
    return std::stod(svg.substr(svg.rfind("<text x=\"", text) + 9));
  };
  // The first point stands at 428 pixels: free, a label begins to its right.
  EXPECT_GT(label_x({"s", {{3, 0.3, "first"}, {5, 0.1, "second"}}}), 428);
  EXPECT_LT(label_x({"s", {{3, 0.3, "first"}, {3.2, 0.3, ""}, {5, 0.1, "second"}}}), 428);
  EXPECT_LT(label_x({"s", {{3, 0.3, "first"}, {5, 0.3, ""}}, true}), 428);
}

TEST(Plot, AxesAreWhatTheStyleSays) {
  // Points are joined from left to right, whatever their order.
  const Series rising{"s", {{10, 10}, {1, 1}, {100, 100}}, true};
  const std::string log = plot_svg({}, {rising}, {.log_x = true, .log_y = true});
  // Equal ratios are equal distances: 80, 370 and 660 across, 460, 254 and 48 up.
  EXPECT_NE(log.find("points=\"80.0,460.0 370.0,254.0 660.0,48.0 \""), std::string::npos) << log;
  const std::string linear = plot_svg({}, {rising}, {.log_y = false});
  EXPECT_NE(linear.find("660.0,48.0"), std::string::npos);
  EXPECT_NE(linear.find(">100</text>"), std::string::npos);
  const std::string below = plot_svg({}, {{"s", {{1, -1, "", -2, 1}, {2, 3}}}}, {.log_y = false});
  EXPECT_NE(below.find(">-2</text>"), std::string::npos);
  EXPECT_NE(below.find(">0</text>"), std::string::npos);
}

TEST(Plot, WhatHasNoPlaceOnALogarithmicAxisIsLeftOut) {
  const std::string svg =
      plot_svg({}, {{"s", {{1, 0, "zero"}, {2, 0.5, "half"}, {3, NAN, "nan"}}}});
  EXPECT_EQ(svg.find("zero"), std::string::npos);
  EXPECT_EQ(svg.find(">nan<"), std::string::npos);
  EXPECT_NE(svg.find("half"), std::string::npos);
}

TEST(Plot, HeatMapShadesFromLeastToMost) {
  const std::string svg =
      heat_map_svg({"t", "layer", "y"}, {"r0", "r1"}, {"0", "1"}, {0.001, 0.1, NAN, 0.01});
  EXPECT_EQ(count(svg, "<rect"), 4u);  // the ground and three values
  EXPECT_NE(svg.find("fill=\"#ffffff\""), std::string::npos);
  EXPECT_NE(svg.find("fill=\"#104878\""), std::string::npos);
  EXPECT_EQ(svg.find(">nan<"), std::string::npos);
}

}  // namespace
}  // namespace krait
