// A mixture of feed-forward blocks behind a router (Shazeer et al. 2017, arXiv 1701.06538), as
// Jamba has it (Lieber et al. 2024, arXiv 2403.19887): softmax over all experts, the largest few of
// each token.
#pragma once

#include <vector>

#include "models/batch.h"
#include "models/blocks/feed_forward.h"
#include "models/visitor.h"

namespace krait {

struct Experts {
  static constexpr std::string_view kModule = "mlp";
  ExpertsSpec spec;
  Weight router;                            // [experts, D]
  std::vector<FeedForwardWeights> experts;  // [spec.experts]
  Site router_input, input, down_input;     // the last two of all experts
};

void visit(Experts& x, Visitor& v);
/// out [T, D]; hidden is the norm's value in f32: the router reads what the experts' site may
/// round. Only the weights of experts that a token asks for are touched.
void run(Context& ctx, const Experts& x, const Pass& pass, const Activation& hidden, float* out);

}  // namespace krait
