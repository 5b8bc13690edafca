#include "report/plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <utility>
#include <vector>

namespace krait {
namespace {

// Pixels. The right margin holds the labels of points at the edge and the names of the series.
constexpr double kWidth = 860, kHeight = 520;
constexpr double kLeft = 80, kRight = 200, kTop = 48, kBottom = 60;
constexpr std::array<const char*, 8> kColours = {"#1b6ca8", "#c8553d", "#3c8d40", "#8a4fa3",
                                                 "#b8860b", "#4a4a4a", "#2a9d8f", "#d16ba5"};

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

std::string svg_head(double width, double height) {
  return fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0:.0f} {1:.0f}\" width=\"{0:.0f}\" "
      "height=\"{1:.0f}\" font-family=\"sans-serif\" font-size=\"12\">\n"
      "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
      width, height);
}

std::string text_at(double x, double y, const char* anchor, const std::string& content) {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>\n", x, y, anchor,
                     escaped(content));
}

/// From values to pixels.
struct Axis {
  bool is_log = false;
  double low = HUGE_VAL, high = -HUGE_VAL;  // of a logarithmic axis powers of ten
  double step = 1;                          // between the lines of the grid
  double begin = 0, end = 0;                // pixels

  bool shows(double value) const { return std::isfinite(value) && (!is_log || value > 0); }
  void include(double value) {
    if (!shows(value)) return;
    low = std::min(low, is_log ? std::log10(value) : value);
    high = std::max(high, is_log ? std::log10(value) : value);
  }
  void finish() {
    if (is_log) {
      low = std::floor(low);
      high = std::max(std::ceil(high), low + 1);
      return;
    }
    low = std::min(low, 0.0);
    high = std::max(high, 0.0);
    if (high == low) high = 1;
    const double rough = (high - low) / 6, power = std::pow(10, std::floor(std::log10(rough)));
    const double factor = rough / power;
    step = power * (factor <= 1 ? 1 : factor <= 2 ? 2 : factor <= 5 ? 5 : 10);
    low = std::floor(low / step) * step;
    high = std::ceil(high / step) * step;
  }
  double at(double value) const {
    const double place = ((is_log ? std::log10(value) : value) - low) / (high - low);
    return begin + place * (end - begin);
  }
  std::vector<double> ticks() const {
    std::vector<double> values;
    const int count = static_cast<int>(std::lround((high - low) / step));
    for (int i = 0; i <= count; ++i) {
      const double value = low + i * step;
      values.push_back(is_log ? std::pow(10, value) : std::abs(value) < step / 2 ? 0 : value);
    }
    return values;
  }
};

std::string grid(const Axis& x, const Axis& y, const PlotText& text) {
  std::string svg;
  const auto line = [&](double x1, double y1, double x2, double y2) {
    svg += fmt::format(
        "<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"#ddd\"/>\n", x1, y1,
        x2, y2);
  };
  const double bottom = kHeight - kBottom, right = kWidth - kRight;
  for (const double value : x.ticks()) {
    line(x.at(value), kTop, x.at(value), bottom);
    svg += text_at(x.at(value), bottom + 18, "middle", fmt::format("{:g}", value));
  }
  for (const double value : y.ticks()) {
    line(kLeft, y.at(value), right, y.at(value));
    svg += text_at(kLeft - 8, y.at(value) + 4, "end", fmt::format("{:g}", value));
  }
  svg += text_at((kLeft + right) / 2, kHeight - 16, "middle", text.x_label);
  svg += fmt::format(
      "<text transform=\"translate(20 {:.1f}) rotate(-90)\" text-anchor=\"middle\">{}</text>\n",
      (kTop + bottom) / 2, escaped(text.y_label));
  svg += fmt::format("<text x=\"{:.1f}\" y=\"26\" font-size=\"16\">{}</text>\n", kLeft,
                     escaped(text.title));
  return svg;
}

/// Pixels that something is drawn on, so that no label is written over it.
class Taken {
 public:
  void point(double x, double y) { boxes_.push_back({x - 4, y - 4, x + 4, y + 4}); }
  void text(double x, double y, const std::string& text) { boxes_.push_back(box_of(x, y, text)); }
  void line(double x0, double y0, double x1, double y1) {
    const int steps = 1 + static_cast<int>(std::hypot(x1 - x0, y1 - y0) / 4);
    for (int i = 0; i <= steps; ++i) {
      const double x = x0 + (x1 - x0) * i / steps, y = y0 + (y1 - y0) * i / steps;
      boxes_.push_back({x - 1, y - 1, x + 1, y + 1});
    }
  }

  /// Where the label of a point begins, on the first side that is free, which it takes; or nothing.
  std::optional<std::pair<double, double>> beside(double x, double y, const std::string& label) {
    const double right = x + 7, left = x - 7 - width_of(label);
    for (const auto& [at_x, at_y] : {std::pair{right, y + 4},
                                     {left, y + 4},
                                     {right, y - 7},
                                     {right, y + 15},
                                     {left, y - 7},
                                     {left, y + 15}}) {
      const Box box = box_of(at_x, at_y, label);
      if (box.x0 < kLeft || box.x1 > kWidth || box.y1 > kHeight - kBottom) continue;
      if (std::ranges::any_of(boxes_, [&](const Box& other) { return box.meets(other); })) continue;
      boxes_.push_back(box);
      return std::pair{at_x, at_y};
    }
    return std::nullopt;
  }

 private:
  struct Box {
    double x0, y0, x1, y1;
    bool meets(const Box& other) const {
      return x0 < other.x1 && other.x0 < x1 && y0 < other.y1 && other.y0 < y1;
    }
  };
  static double width_of(const std::string& text) { return 7.6 * static_cast<double>(text.size()); }
  static Box box_of(double x, double y, const std::string& text) {
    return {x, y - 10, x + width_of(text), y + 1};
  }
  std::vector<Box> boxes_;
};

/// Points that the axes show, in pixels, from left to right.
struct Place {
  double x, y;
  const Point* point;
};
std::vector<Place> places_of(const Series& series, const Axis& x, const Axis& y) {
  std::vector<Place> places;
  for (const Point& p : series.points) {
    if (x.shows(p.x) && y.shows(p.y)) places.push_back({x.at(p.x), y.at(p.y), &p});
  }
  std::ranges::stable_sort(places, {}, &Place::x);
  return places;
}

/// Points, their intervals and what joins them; takes what it draws on.
std::string draw(const Series& series, const Axis& x, const Axis& y, const char* colour,
                 Taken& taken) {
  std::string svg, path;
  const Place* last = nullptr;
  const std::vector<Place> places = places_of(series, x, y);
  for (const Place& place : places) {
    const Point& p = *place.point;
    if (p.low != p.high && y.shows(p.low) && y.shows(p.high)) {
      svg += fmt::format(
          "<line x1=\"{0:.1f}\" y1=\"{1:.1f}\" x2=\"{0:.1f}\" y2=\"{2:.1f}\" stroke=\"{3}\"/>\n",
          place.x, y.at(p.low), y.at(p.high), colour);
    }
    svg += fmt::format(
        "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{}\" fill=\"{}\"><title>{}</title></circle>\n",
        place.x, place.y, series.joined ? 3 : 4, colour, escaped(p.label));
    taken.point(place.x, place.y);
    path += fmt::format("{:.1f},{:.1f} ", place.x, place.y);
    if (series.joined && last) taken.line(last->x, last->y, place.x, place.y);
    last = &place;
  }
  if (series.joined) {
    svg += fmt::format("<polyline points=\"{}\" fill=\"none\" stroke=\"{}\"/>\n", path, colour);
  }
  return svg;
}

std::string write_labels(const Series& series, const Axis& x, const Axis& y, const char* colour,
                         Taken& taken) {
  std::string svg;
  for (const Place& place : places_of(series, x, y)) {
    if (place.point->label.empty()) continue;
    if (const auto at = taken.beside(place.x, place.y, place.point->label)) {
      svg += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" fill=\"{}\">{}</text>\n", at->first,
                         at->second, colour, escaped(place.point->label));
    }
  }
  return svg;
}

/// From white to dark blue.
std::string shade(double share) {
  const auto mix = [share](double dark) {
    return static_cast<int>(std::lround(255 + share * (dark - 255)));
  };
  return fmt::format("#{:02x}{:02x}{:02x}", mix(16), mix(72), mix(120));
}

}  // namespace

std::string plot_svg(const PlotText& text, const std::vector<Series>& series,
                     const PlotStyle& style) {
  Axis x{.is_log = style.log_x, .begin = kLeft, .end = kWidth - kRight};
  Axis y{.is_log = style.log_y, .begin = kHeight - kBottom, .end = kTop};
  for (const Series& s : series) {
    for (const Point& p : s.points) {
      if (!x.shows(p.x) || !y.shows(p.y)) continue;
      x.include(p.x);
      y.include(p.y);
      if (p.low != p.high) {
        y.include(p.low);
        y.include(p.high);
      }
    }
  }
  x.finish();
  y.finish();
  std::string svg = svg_head(kWidth, kHeight) + grid(x, y, text);
  Taken taken;
  const auto colour_of = [](std::size_t i) { return kColours[i % kColours.size()]; };
  for (std::size_t i = 0; i < series.size(); ++i) {
    svg += draw(series[i], x, y, colour_of(i), taken);
    const double at = kTop + 18 * static_cast<double>(i);
    svg += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4\" fill=\"{}\"/>\n", kWidth - 140,
                       at, colour_of(i));
    svg += text_at(kWidth - 130, at + 4, "start", series[i].name);
    taken.text(kWidth - 144, at + 4, "  " + series[i].name);
  }
  for (std::size_t i = 0; i < series.size(); ++i) {
    svg += write_labels(series[i], x, y, colour_of(i), taken);
  }
  return svg + "</svg>\n";
}

std::string heat_map_svg(const PlotText& text, const std::vector<std::string>& rows,
                         const std::vector<std::string>& columns,
                         const std::vector<double>& values) {
  constexpr double kCellWidth = 64, kCellHeight = 22, kNames = 220, kHead = 76;
  double least = HUGE_VAL, most = 0;
  for (const double value : values) {
    if (!(value > 0)) continue;
    least = std::min(least, value);
    most = std::max(most, value);
  }
  const double width = kNames + kCellWidth * static_cast<double>(columns.size()) + 20;
  const double height = kHead + kCellHeight * static_cast<double>(rows.size()) + 40;
  std::string svg = svg_head(std::max(width, 640.0), height);
  svg += fmt::format("<text x=\"12\" y=\"26\" font-size=\"16\">{}</text>\n", escaped(text.title));
  svg += text_at(kNames, 46, "start", text.x_label);
  for (std::size_t c = 0; c < columns.size(); ++c) {
    svg += text_at(kNames + kCellWidth * (static_cast<double>(c) + 0.5), kHead - 8, "middle",
                   columns[c]);
  }
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const double y = kHead + kCellHeight * static_cast<double>(r);
    svg += text_at(kNames - 8, y + 15, "end", rows[r]);
    for (std::size_t c = 0; c < columns.size(); ++c) {
      const double value = values[r * columns.size() + c];
      if (std::isnan(value)) continue;
      const double span = std::log(most / least);
      const double share = value > 0 && span > 0 ? std::log(value / least) / span : 0;
      const double x = kNames + kCellWidth * static_cast<double>(c);
      svg += fmt::format(
          "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" fill=\"{}\"/>\n"
          "<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\" font-size=\"10\" "
          "fill=\"{}\">{:.2g}</text>\n",
          x, y, kCellWidth - 1, kCellHeight - 1, shade(share), x + kCellWidth / 2, y + 15,
          share > 0.5 ? "white" : "black", value);
    }
  }
  svg += text_at(kNames, height - 14, "start", text.y_label);
  return svg + "</svg>\n";
}

}  // namespace krait
