#include "cli/plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace krait::cli {
namespace {

// Pixels. The right margin holds the labels of points at the edge and the names of the series.
constexpr double kWidth = 860, kHeight = 520;
constexpr double kLeft = 80, kRight = 200, kTop = 48, kBottom = 60;
constexpr std::array<const char*, 6> kColours = {"#1b6ca8", "#c8553d", "#3c8d40",
                                                 "#8a4fa3", "#b8860b", "#4a4a4a"};

std::string escaped(const std::string& text) {
  std::string out;
  for (char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

struct Axes {
  double x_most = 0, y_low = 0, y_high = 0;  // y in powers of ten

  explicit Axes(const std::vector<Series>& series) {
    double least = HUGE_VAL, most = 0;
    for (const Series& s : series) {
      for (const Point& p : s.points) {
        x_most = std::max(x_most, p.x);
        least = std::min(least, p.y);
        most = std::max(most, p.y);
      }
    }
    x_most = std::ceil(x_most * 1.05);
    y_low = std::floor(std::log10(least));
    y_high = std::max(std::ceil(std::log10(most)), y_low + 1);
  }
  double x(double value) const { return kLeft + value / x_most * (kWidth - kLeft - kRight); }
  double y(double value) const {
    const double share = (std::log10(value) - y_low) / (y_high - y_low);
    return kHeight - kBottom - share * (kHeight - kTop - kBottom);
  }
};

std::string grid(const Axes& axes, const PlotText& text) {
  std::string svg;
  const auto line = [&](double x1, double y1, double x2, double y2) {
    svg += fmt::format(
        "<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"#ddd\"/>\n", x1, y1,
        x2, y2);
  };
  const auto label = [&](double x, double y, const char* anchor, const std::string& content) {
    svg += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>\n", x, y,
                       anchor, escaped(content));
  };
  const double bottom = kHeight - kBottom, right = kWidth - kRight;
  const double step = axes.x_most > 16 ? 4 : axes.x_most > 8 ? 2 : 1;
  for (double x = 0; x <= axes.x_most; x += step) {
    line(axes.x(x), kTop, axes.x(x), bottom);
    label(axes.x(x), bottom + 18, "middle", fmt::format("{:g}", x));
  }
  for (double power = axes.y_low; power <= axes.y_high; power += 1) {
    const double y = axes.y(std::pow(10, power));
    line(kLeft, y, right, y);
    label(kLeft - 8, y + 4, "end", fmt::format("{:g}", std::pow(10, power)));
  }
  label((kLeft + right) / 2, kHeight - 16, "middle", text.x_label);
  svg += fmt::format(
      "<text transform=\"translate(20 {:.1f}) rotate(-90)\" text-anchor=\"middle\">{}</text>\n",
      (kTop + bottom) / 2, escaped(text.y_label));
  svg += fmt::format("<text x=\"{:.1f}\" y=\"26\" font-size=\"16\">{}</text>\n", kLeft,
                     escaped(text.title));
  return svg;
}

}  // namespace

std::string scatter_svg(const PlotText& text, const std::vector<Series>& series) {
  const Axes axes(series);
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" width=\"{0}\" "
      "height=\"{1}\" font-family=\"sans-serif\" font-size=\"12\">\n"
      "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
      kWidth, kHeight);
  svg += grid(axes, text);
  for (std::size_t i = 0; i < series.size(); ++i) {
    const char* colour = kColours[i % kColours.size()];
    for (const Point& p : series[i].points) {
      svg += fmt::format(
          "<circle cx=\"{0:.1f}\" cy=\"{1:.1f}\" r=\"4\" fill=\"{2}\"/>\n"
          "<text x=\"{3:.1f}\" y=\"{4:.1f}\" fill=\"{2}\">{5}</text>\n",
          axes.x(p.x), axes.y(p.y), colour, axes.x(p.x) + 7, axes.y(p.y) + 4, escaped(p.label));
    }
    const double y = kTop + 18 * static_cast<double>(i);
    svg += fmt::format(
        "<circle cx=\"{0:.1f}\" cy=\"{1:.1f}\" r=\"4\" fill=\"{2}\"/>\n"
        "<text x=\"{3:.1f}\" y=\"{4:.1f}\">{5}</text>\n",
        kWidth - 140, y, colour, kWidth - 130, y + 4, escaped(series[i].name));
  }
  return svg + "</svg>\n";
}

}  // namespace krait::cli
