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
  const std::string svg =
      plot_svg({}, {{"s", {{2, 0.1, "first"}, {2.01, 0.1, "second"}, {8, 0.01, "third"}}}});
  EXPECT_EQ(count(svg, ">first</text>") + count(svg, ">third</text>"), 2u);
  EXPECT_EQ(count(svg, ">second</text>"), 0u);
  EXPECT_EQ(count(svg, "<title>second</title>"), 1u);  // the point still tells
}

TEST(Plot, AxesAreWhatTheStyleSays) {
  const Series rising{"s", {{1, 1}, {10, 10}, {100, 100}}};
  const std::string log = plot_svg({}, {rising}, {.log_x = true, .log_y = true, .lines = true});
  // Equal ratios are equal distances: 80, 370 and 660 across, 460, 254 and 48 up.
  EXPECT_NE(log.find("points=\"80.0,460.0 370.0,254.0 660.0,48.0 \""), std::string::npos) << log;
  const std::string linear = plot_svg({}, {rising}, {.log_y = false, .lines = true});
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
