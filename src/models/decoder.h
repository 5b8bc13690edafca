// The one model: what a DecoderConfig describes. Its blocks are walked by visitors, and run one
// after the other.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "models/blocks/attention.h"
#include "models/blocks/embedding_and_head.h"
#include "models/blocks/experts.h"
#include "models/blocks/feed_forward.h"
#include "models/blocks/mamba1.h"
#include "models/blocks/mamba2.h"
#include "models/model.h"

namespace krait {

using Op = std::variant<Mamba1, Mamba2, Attention, FeedForward, Experts>;

/// A decoder's parts: those of the config, in its order, with what they read from a checkpoint.
struct DecoderParts {
  struct Branch {
    Norm norm;
    Op op;
  };
  Ends ends;
  std::vector<std::vector<Branch>> blocks;
};

/// The parts of a config, nothing read yet.
DecoderParts make_parts(const DecoderConfig& config);

/// Shows every part to the visitor, in the order of the forward pass but for norms: those of a
/// block come first.
void walk(const DecoderConfig& config, DecoderParts& parts, Visitor& visitor);

/// What quantizers and inspectors see of a decoder. Info: all but the names.
ModelLayout describe_decoder(const DecoderConfig& config);

/// The state of a sequence in these numerics, without a fingerprint.
StateLayout describe_state(const DecoderConfig& config,
                           const std::map<std::string, ActivationNumerics>& numerics);

/// Whether the integers of a mixture's experts are copied into memory, packed for the products: if
/// they take at most half of its bytes. Otherwise they stay where they are, in the mapped file, are
/// touched as routed and packed on the way: slower, but there need not be room for all.
bool packs_experts(const ModelLayout& layout, const TensorSource& tensors, std::size_t memory);

class Decoder final : public Model {
 public:
  /// `layout` is describe_decoder(config), with its info; `ignored` are suffixes of tensors that
  /// are not read.
  Decoder(Context& ctx, DecoderConfig config, ModelLayout layout,
          std::map<std::string, ActivationNumerics> numerics, const TensorSource& tensors,
          std::span<const std::string_view> ignored, const LoadOptions& options);

  void forward(Context& ctx, const Batch& batch, float* logits) const override;
  void forward_layers(Context& ctx, const Batch& batch, int begin, int end,
                      float* residual) const override;

 private:
  const float* run_blocks(Context& ctx, const Batch& batch, int begin, int end,
                          float* residual) const;

  DecoderConfig config_;
  DecoderParts parts_;
  std::vector<std::vector<float>> inverse_frequencies_;  // of each kind of rotary positions
};

}  // namespace krait
