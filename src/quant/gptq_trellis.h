// GPTQ for words of trellis codes.
#pragma once

#include "quant/gptq.h"
#include "quant/rounding_problem.h"

namespace krait {

/// As round_gptq(), with the columns of a word taken together: words in the order of decreasing
/// sums of H's diagonal, each encoded for its factor of H with a survivor's own errors fed to its
/// later columns (encode_word()), and the errors of whole words fed to the words to come. A sweep
/// encodes every word again for what the others leave to it, w_B + (e H)_B H_BB^-1 - e_B with H_BB
/// as the norm, then refits the steps; what would not lower the error is not taken. p.order is not
/// read. H is finite and not zero.
RoundedMatrix round_gptq_trellis(ThreadPool& threads, const RoundingProblem& p,
                                 std::span<const double> H, const GptqOptions& options);

}  // namespace krait
