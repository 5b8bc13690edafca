#include "core/choices.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cstddef>
#include <numeric>

#include "core/printable.h"

namespace krait {
namespace {

/// Insertions, deletions and substitutions from a to b (Levenshtein 1966).
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({substituted, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

}  // namespace

std::string unknown_name(std::string_view name, const std::vector<std::string>& known) {
  const std::string shown = printable(name, 64);
  std::string hint;
  std::size_t nearest = std::max<std::size_t>(shown.size() / 3, 1) + 1;
  for (const std::string& choice : known) {
    const std::size_t distance = edit_distance(shown, choice);
    if (distance < nearest) {
      nearest = distance;
      hint = fmt::format(" (did you mean \"{}\"?)", choice);
    }
  }
  return fmt::format("\"{}\"{}; known: {}", shown, hint,
                     known.empty() ? "none" : fmt::format("{}", fmt::join(known, ", ")));
}

}  // namespace krait
