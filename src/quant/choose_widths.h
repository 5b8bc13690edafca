// Mixed precision: which product gets how many bits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace krait {

/// One way to store a product: its size, and what the model loses if this product alone is stored
/// so, in any unit that may be added up (KL divergence).
struct Width {
  std::int64_t bytes = 0;
  double loss = 0;
};

/// For each product the index of a width, such that the sum of losses is least among all choices
/// whose sum of bytes is at most `budget`: the multiple-choice knapsack problem (Kellerer, Pferschy
/// and Pisinger 2004, chapter 11) by dynamic programming over the budget in kSteps steps, sizes
/// rounded up to whole steps, so that a choice may miss the best by what the rounding keeps free.
/// Empty if nothing fits. products[i] must not be empty; losses are finite.
std::vector<std::size_t> choose_widths(std::span<const std::vector<Width>> products,
                                       std::int64_t budget);

}  // namespace krait
