#include "quant/choose_widths.h"

#include <algorithm>
#include <cassert>
#include <limits>

namespace krait {
namespace {

constexpr std::int64_t kSteps = 1 << 14;
constexpr double kNever = std::numeric_limits<double>::infinity();

}  // namespace

std::vector<std::size_t> choose_widths(std::span<const std::vector<Width>> products,
                                       std::int64_t budget) {
  // What every product needs at least is paid first: steps are of what is left, and so are fine.
  std::vector<std::int64_t> least;
  for (const std::vector<Width>& widths : products) {
    assert(!widths.empty());
    const auto smallest = std::ranges::min_element(widths, {}, &Width::bytes);
    least.push_back(smallest->bytes);
    budget -= smallest->bytes;
  }
  if (budget < 0) return {};
  const std::int64_t step = std::max<std::int64_t>(1, budget / kSteps);
  const auto room = static_cast<std::size_t>(budget / step);

  // best[b]: the least loss of the products so far in at most b steps; choice[i][b] is how.
  std::vector<double> best(room + 1, 0), next(room + 1);
  std::vector<std::vector<std::size_t>> choice;
  const auto steps_of = [&](std::size_t product, const Width& width) {
    return static_cast<std::size_t>((width.bytes - least[product] + step - 1) / step);
  };
  for (std::size_t i = 0; i < products.size(); ++i) {
    std::ranges::fill(next, kNever);
    choice.emplace_back(room + 1, 0);
    for (std::size_t w = 0; w < products[i].size(); ++w) {
      const Width& width = products[i][w];
      const std::size_t steps = steps_of(i, width);
      for (std::size_t b = steps; b <= room; ++b) {
        const double loss = best[b - steps] + width.loss;
        if (loss >= next[b]) continue;
        next[b] = loss;
        choice[i][b] = w;
      }
    }
    std::swap(best, next);
  }
  std::vector<std::size_t> chosen(products.size());
  std::size_t b = room;
  for (std::size_t i = products.size(); i-- > 0;) {
    chosen[i] = choice[i][b];
    b -= steps_of(i, products[i][chosen[i]]);
  }
  return chosen;
}

}  // namespace krait
