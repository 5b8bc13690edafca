// A model, as everything but models/ sees it.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "kernels/context.h"
#include "models/batch.h"
#include "models/layout.h"
#include "models/state.h"

namespace krait {

/// Immutable after loading; forward may run in several threads at once with different Contexts.
class Model {
 public:
  virtual ~Model() = default;
  const ModelLayout& layout() const noexcept { return layout_; }
  const ModelInfo& info() const noexcept { return layout_.info; }
  /// By role; a role that is absent is f32.
  const std::map<std::string, ActivationNumerics>& numerics() const noexcept { return numerics_; }
  std::shared_ptr<const StateLayout> state_layout() const noexcept { return state_layout_; }
  std::size_t weight_bytes() const noexcept {
    return weight_bytes_;
  }  ///< read per decoded token at batch 1

  /// logits: f32 [rows, vocab_rows], the rows that batch.rows asks for in the order of sequences;
  /// unused if there are none. Ids must be in [0, vocab_rows): the caller checks. Taps of ctx are
  /// called for every activation site.
  virtual void forward(Context& ctx, const Batch& batch, float* logits) const = 0;

  /// The layers [begin, end) alone. `residual` [tokens, d_model] is what layer `begin` reads
  /// (written here if begin is 0: the embeddings) and becomes what layer `end` would: forward() is
  /// any chain of such calls, to the bit, with states that start anew in each. end = layers + 1
  /// also makes the head's input, for taps; the residual is then of no use.
  virtual void forward_layers(Context& ctx, const Batch& batch, int begin, int end,
                              float* residual) const = 0;

 protected:
  Model(ModelLayout layout, std::map<std::string, ActivationNumerics> numerics)
      : layout_(std::move(layout)), numerics_(std::move(numerics)) {}

  ModelLayout layout_;
  std::map<std::string, ActivationNumerics> numerics_;
  std::shared_ptr<const StateLayout> state_layout_;
  std::size_t weight_bytes_ = 0;
};

/// Reads config.json's quantization_config["krait"]["activations"]; empty for a float checkpoint.
/// Refuses unknown roles and numerics that no kernel has, with the choices.
std::map<std::string, ActivationNumerics> parse_numerics(const Json& config,
                                                         const ModelLayout& layout);

struct LoadOptions {
  /// Of a mixture's integer experts: copied into memory, packed for the products, or left in the
  /// mapped file and packed as they are multiplied. Unset: packed if they take at most half of the
  /// memory. The bits are the same.
  std::optional<bool> packs_experts;
};

/// Loads a float or quantized checkpoint. Float tensors are borrowed from the source; int8 ones are
/// packed. NaN or infinite weights are refused by name. Errors: see describe_model.
std::unique_ptr<Model> load_model(Context& ctx, const Json& config, const TensorSource& tensors,
                                  const LoadOptions& options = {});

/// The state of one sequence, without weights and so without a fingerprint. Errors: see
/// describe_model.
StateLayout state_layout_of(const Json& config, const TensorSource& tensors);

/// Names for messages: "mamba (MambaForCausalLM)".
std::string known_architectures();

}  // namespace krait
