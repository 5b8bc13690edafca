#include "quant/rotate.h"

#include <vector>

#include "kernels/hadamard/hadamard.h"

namespace krait {

void rotate_row(std::span<float> row, std::int64_t block) {
  std::vector<double> exact(row.begin(), row.end());
  hadamard_row(exact, block);
  for (std::size_t i = 0; i < row.size(); ++i) row[i] = static_cast<float>(exact[i]);
}

}  // namespace krait
