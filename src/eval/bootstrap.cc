#include "eval/bootstrap.h"

#include <algorithm>
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
