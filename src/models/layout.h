// What a model shows to quantizers, inspectors and loaders: its tensors and the places where its
// activations can be quantized. Plain data made from config and tensor shapes; no weights needed.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/quant_args.h"
#include "core/tensor.h"
#include "io/json_fwd.h"
#include "io/tensor_source.h"
#include "kernels/formats.h"

namespace krait {

/// A matrix product y = x W^T (+ bias), or the embedding table. Its tensors are name + ".weight",
/// ".weight_scale" (int8) and ".bias" (if has_bias); in 4 bits ".weight_packed", ".weight_scale"
/// and ".weight_shape" instead, as codes ".weight_codes", ".weight_table", ".weight_scale" and
/// ".weight_shape", as ternary digits ".weight_trits", ".weight_scale" and ".weight_shape".
struct LinearSite {
  std::string name = {};         ///< "backbone.layers.0.mixer.in_proj"
  std::string role = {};         ///< "in_proj": what recipes target; the same in every layer
  std::string module = {};       ///< "mamba", "attention", "mlp" or "ends"
  std::string kind = "product";  ///< or "table", "head", "router"
  int layer = -1;                ///< -1 outside the layers
  std::int64_t rows = 0;         ///< outputs
  std::int64_t cols = 0;         ///< inputs
  int input_site = -1;  ///< index into ModelLayout::activations; -1 for the embedding table
  bool has_bias =
      false;  ///< added by the product itself (dt_proj's bias is a ParamSite: the scan adds it)
  std::string tied_to = {};  ///< lm_head tied to the embeddings: that site's name; no tensor of its
                             ///< own
  std::vector<std::int64_t> parts = {};  ///< rows of each value that the output is made of; empty:
                                         ///< one value
  bool adds_to_residual = false;         ///< its output is added to the residual stream as it is
  double share = 1;  ///< of the tokens that read it: below 1 for a mixture's experts
};

/// How the elements of a parameter are before training: what models with random weights have.
enum class Init {
  ones,
  zeros,
  uniform,  ///< of deviation 0.3
  log_n,    ///< log(1 .. n) along the last dimension: A_log of Mamba-1 (arXiv 2312.00752, 3.6)
  log_16,   ///< log of a uniform number in [1, 16]: A_log of Mamba-2 (arXiv 2405.21060)
  dt_bias,  ///< inverse softplus of a step in [0.001, 0.1], uniform in its logarithm
};

/// A small parameter that no product uses: "A_log", "D", "conv1d.weight", "conv1d.bias",
/// "dt_proj.bias", norms. Int8 ones have name + "_scale".
struct ParamSite {
  std::string name = {};  ///< full tensor name, "backbone.layers.0.mixer.A_log"
  std::string role = {};  ///< "A_log"
  std::string module = {};
  std::string kind = "parameter";  ///< or "norm"
  int layer = -1;
  Shape shape = {};                      ///< as on disk
  bool quantizable = true;               ///< norms are not
  std::vector<std::int64_t> parts = {};  ///< rows that belong to one value each; empty: all
  Init init = Init::ones;                ///< how training begins
};

/// A place in the forward pass whose value can be quantized and watched. Its static scale is the
/// tensor name + "_scale", f32 [1] or [channels]; a state's also f32 [groups, states], with the
/// group of each channel in name + "_group", i32 [channels]. One numerics for all layers of a role.
struct ActivationSite {
  std::string name = {};  ///< "backbone.layers.0.mixer.conv1d.input"
  std::string role = {};  ///< "conv1d.input"
  std::string module = {};
  std::string kind = "value";  ///< or "product.input", "router.input", "head.input", "state",
                               ///< "cache"
  int layer = -1;
  std::int64_t channels = 0;
  bool is_state = false;   ///< ssm_state: float16 and static int8 only
  bool rotatable = false;  ///< the forward pass can apply a Hadamard transform here, within groups
  bool is_cache = false;   ///< a state of rows per token: float16 and dynamic int8 per token only
  std::string norm = {};   ///< the norm (parameters norm + ".weight", ".bias") whose value this is,
                           ///< where nothing but products reads it; "" otherwise
  std::int64_t groups = 0;  ///< its channels are this many groups of equal size; 0: they are no
                            ///< groups, not even one
  std::int64_t group_channels() const noexcept { return groups > 0 ? channels / groups : channels; }
  std::int64_t states = 0;  ///< of a state that is also kept as int8 with static scales per group
                            ///< and state, or dynamic ones per channel: values per channel
};

/// What decides as which numbers a site can be kept: kernels/formats.h.
inline FormatSite format_site(const LinearSite& site) {
  return {.kind = site.kind, .cols = site.cols, .has_parts = !site.parts.empty()};
}
inline FormatSite format_site(const ParamSite& site) {
  return {.kind = site.kind, .rank = site.shape.rank(), .has_parts = !site.parts.empty()};
}
inline FormatSite format_site(const ActivationSite& site) {
  return {.kind = site.kind, .has_groups = site.groups > 0, .has_state_rows = site.states > 0};
}

/// Heads and channels of one layer that may change places without changing the model's function, as
/// long as every tensor that is indexed by them changes with them: channels within their head,
/// heads within their group.
struct HeadOrder {
  /// Part of a tensor: along dimension `dim`, from `begin` on, one index for each channel (heads
  /// * head_dim of them) or for each head.
  struct Range {
    std::string tensor;
    int dim = 0;
    std::int64_t begin = 0;
    bool per_head = false;
  };
  std::string role;        ///< of the activation site whose channels these are
  std::string state_role;  ///< of the state that has them too
  int layer = 0;
  std::int64_t heads = 0, head_dim = 0, groups = 1;
  std::vector<Range> ranges;
};

struct ModelInfo {
  std::string architecture;  ///< "MambaForCausalLM"
  std::string model_type;    ///< "mamba"
  std::int64_t d_model = 0, n_layers = 0;
  std::int64_t vocab_rows = 0;  ///< rows of the embedding table, padding included
  std::int64_t vocab_size = 0;  ///< ids at or above are padding (<= vocab_rows)
  std::int64_t parameters = 0;  ///< elements of all weights, tied ones once
};

struct ModelLayout {
  ModelInfo info;
  std::vector<LinearSite> linears;  ///< in the order of the forward pass
  std::vector<ParamSite> params;
  std::vector<ActivationSite> activations;
  std::vector<HeadOrder> head_orders = {};  ///< of architectures with heads to sort, by layer
};

/// How one activation role is held between operations; read from quantization_config["krait"].
struct ActivationNumerics {
  bool quantized = false;  ///< false: f32 and the rest is ignored
  QuantArgs args;
  std::int64_t hadamard_block = 0;  ///< > 0: rotated by hadamard(block) before quantization
};

/// Why these numerics, by role, cannot stand together; "" if they can. An orthogonal R leaves C S as
/// it is, (C R)(R^T S), and R^T S is what B R makes: the values that turn a state are rotated alike,
/// and a state whose static scales were measured unrotated is not.
std::string rotation_conflict(const ModelLayout& layout,
                              const std::map<std::string, ActivationNumerics>& numerics);

/// Sites of the model that config and tensors describe. Reads shapes only. Errors: unsupported for
/// an unknown architecture (with the known ones), bad_data for missing, unused or misshaped tensors
/// (all of them named, expected and got).
ModelLayout describe_model(const Json& config, const TensorSource& tensors);

}  // namespace krait
