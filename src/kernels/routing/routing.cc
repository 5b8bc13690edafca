#include "kernels/routing/routing.h"

#include <algorithm>
#include <cassert>

#include "kernels/attention/attention_kernels.h"
#include "kernels/cpu_operations.h"

namespace krait {

Routing cpu::top_experts(Context& ctx, const Activation& logits, std::int64_t k) {
  assert(logits.dtype == DType::f32 && k >= 1 && k <= logits.cols);
  struct Choice {
    std::int64_t expert;
    float weight;
  };
  std::vector<Choice> choices;  // k of each token
  Routing result;
  result.begin.resize(static_cast<std::size_t>(logits.cols) + 1);
  Activation rows = logits;
  for (std::int64_t t = 0; t < rows.rows; ++t) {
    float* p = rows.f32(t);
    const float sum = ctx.kernels.attention->exponentials(p, rows.cols, 1.0f);
    for (std::int64_t i = 0; i < k; ++i) {
      float* best = std::max_element(p, p + rows.cols);  // the first of equals
      choices.push_back({best - p, *best / sum});
      ++result.begin[static_cast<std::size_t>(best - p) + 1];
      *best = -1.0f;  // below every exponential
    }
  }
  for (std::size_t e = 1; e < result.begin.size(); ++e) result.begin[e] += result.begin[e - 1];
  std::vector<std::size_t> next(result.begin.begin(), result.begin.end() - 1);
  result.tokens.resize(choices.size());
  result.weights.resize(choices.size());
  for (std::size_t i = 0; i < choices.size(); ++i) {
    const std::size_t at = next[static_cast<std::size_t>(choices[i].expert)]++;
    result.tokens[at] = static_cast<std::int32_t>(i / static_cast<std::size_t>(k));
    result.weights[at] = choices[i].weight;
  }
  return result;
}

}  // namespace krait
