#include "report/units.h"

#include <fmt/format.h>

#include <array>
#include <cmath>

namespace krait {
namespace {

/// Three significant digits without an exponent, the integer part never cut.
std::string three_digits(double x) {
  const double size = std::abs(x);
  if (size >= 99.95) return fmt::format("{:.0f}", x);
  if (size >= 9.995) return fmt::format("{:.1f}", x);
  if (size >= 0.9995 || size == 0) return fmt::format("{:.2f}", x);
  return fmt::format("{:.3f}", x);
}

}  // namespace

std::string format_bytes(double bytes) {
  constexpr std::array units{"B", "kB", "MB", "GB", "TB"};
  std::size_t unit = 0;
  while (std::abs(bytes) >= 999.5 && unit + 1 < units.size()) {
    bytes /= 1000;
    ++unit;
  }
  return unit == 0 ? fmt::format("{:.0f} B", bytes)
                   : fmt::format("{} {}", three_digits(bytes), units[unit]);
}

std::string format_count(double count) {
  constexpr std::array units{"", "K", "M", "B", "T"};
  std::size_t unit = 0;
  while (std::abs(count) >= 999.5 && unit + 1 < units.size()) {
    count /= 1000;
    ++unit;
  }
  return unit == 0 ? fmt::format("{:.0f}", count)
                   : fmt::format("{}{}", three_digits(count), units[unit]);
}

std::string format_duration(double seconds) {
  if (seconds < 9.95) return fmt::format("{:.1f} s", seconds);
  const auto whole = static_cast<std::int64_t>(std::llround(seconds));
  if (whole < 60) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{}:{:02}", whole / 60, whole % 60);
  return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

std::string format_rate(double per_second) { return three_digits(per_second); }

}  // namespace krait
