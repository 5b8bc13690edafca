// A feed-forward block: y = W_down (act(W_gate x) * W_up x) (Shazeer 2020, arXiv 2002.05202), or
// y = W_down act(W_up x).
//
// Letters: D d_model, F d_ff, T tokens.
#pragma once

#include "models/batch.h"
#include "models/visitor.h"

namespace krait {

/// The products of one feed-forward block, or of one expert: experts share their layer's sites.
struct FeedForwardWeights {
  Weight gate, up, down;  // [F, D] twice, [D, F]; no gate if the spec has none
};

/// Names the products; `told` is what is said of all of them, adds_to_residual of the last.
void visit(FeedForwardWeights& w, const FeedForwardSpec& spec, const Site& input,
           const Site& down_input, const LinearSite& told, Visitor& v);
/// out [T, D]; hidden is input's value.
void run(Context& ctx, const FeedForwardWeights& w, const FeedForwardSpec& spec,
         const Site& down_input, const Activation& hidden, float* out);

struct FeedForward {
  static constexpr std::string_view kModule = "mlp";
  FeedForwardSpec spec;
  FeedForwardWeights weights;
  Site input, down_input;
};

void visit(FeedForward& f, Visitor& v);
void run(Context& ctx, const FeedForward& f, const Pass& pass, const Activation& hidden,
         float* out);

}  // namespace krait
