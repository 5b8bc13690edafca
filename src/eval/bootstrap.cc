#include "eval/bootstrap.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <vector>

#include "core/rng.h"
#include "eval/windows.h"

namespace krait {
namespace {

constexpr std::size_t kResamples = 2000;

struct Block {
  double sum = 0, count = 0;
};

}  // namespace

double student95(std::size_t count) noexcept {
  constexpr double kQuantiles[] = {12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306,
                                   2.262,  2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
                                   2.110,  2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064,
                                   2.060,  2.056, 2.052, 2.048, 2.045};
  if (count < 2) return std::numeric_limits<double>::infinity();
  const std::size_t degrees = count - 1;
  return degrees <= std::size(kQuantiles) ? kQuantiles[degrees - 1] : 1.959964;
}

Interval bootstrap_interval(std::span<const double> values, std::int64_t block) {
  std::vector<Block> blocks;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (i % static_cast<std::size_t>(block) == 0) blocks.emplace_back();
    blocks.back().sum += values[i];
    blocks.back().count += 1;
  }
  if (blocks.size() < 2) {
    const double mean = mean_of(values).value;
    return {mean, mean};
  }
  Rng rng(1);
  std::vector<double> means(kResamples);
  for (double& mean : means) {
    Block total;
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      const Block& drawn = blocks[rng.below(blocks.size())];
      total.sum += drawn.sum;
      total.count += drawn.count;
    }
    mean = total.sum / total.count;
  }
  return {quantile(means, 0.025), quantile(means, 0.975)};
}

}  // namespace krait
