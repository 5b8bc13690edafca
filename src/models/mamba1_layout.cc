// Sizes and sites of Mamba-1, from config.json and the tensors' names and shapes.
#include <cstring>
#include <map>
#include <optional>
#include <tuple>

#include "core/check.h"
#include "io/printable.h"
#include "models/config.h"
#include "models/mamba1.h"
#include "models/tensor_check.h"

namespace krait {
namespace {

/// A size that several tensors tell: the most frequent value wins, so that one misshaped tensor is
/// the one that is reported. config.json settles a tie and stands in where no tensor tells.
class Vote {
 public:
  void add(std::int64_t value) {
    if (value > 0) ++counts_[value];
  }
  /// Dimension `dim` of a tensor of rank `rank`, divided by `divisor`.
  void add(const TensorInfo* info, int rank, int dim, std::int64_t divisor = 1) {
    if (info && info->shape.rank() == rank && info->shape[dim] % divisor == 0) {
      add(info->shape[dim] / divisor);
    }
  }
  std::int64_t result(std::optional<std::int64_t> from_config, std::string_view what) const {
    std::int64_t best = from_config.value_or(0);
    int votes = from_config && counts_.contains(best) ? counts_.at(best) : 0;
    for (const auto& [value, count] : counts_) {
      if (count > votes) {
        best = value;
        votes = count;
      }
    }
    check(best >= 1 && best < (std::int64_t{1} << 31), ErrorCode::bad_data,
          "neither config.json nor the tensors tell {} (got {})", what, best);
    return best;
  }

 private:
  std::map<std::int64_t, int> counts_;
};

std::string mixer_prefix(std::int64_t layer) {
  return fmt::format("backbone.layers.{}.mixer.", layer);
}

/// The number of layers: config.json's, else one more than the highest layer index with a tensor.
std::int64_t count_layers(const Json& config, const TensorCheck& tensors) {
  std::int64_t layers = 0;
  if (const auto given = config_dim(config, {"num_hidden_layers", "n_layer"})) {
    layers = *given;
  } else {
    while (tensors.find(mixer_prefix(layers) + "A_log")) ++layers;
  }
  check(layers >= 1 && layers <= static_cast<std::int64_t>(tensors.size()), ErrorCode::bad_data,
        "config.json: num_hidden_layers {} cannot be, the checkpoint holds {} tensors", layers,
        tensors.size());
  return layers;
}

bool same_bytes(const TensorSource& tensors, const std::string& a, const std::string& b) {
  const Tensor x = tensors.get(a), y = tensors.get(b);
  if (x.dtype() != y.dtype() || x.shape() != y.shape()) return false;
  return x.view().data == y.view().data ||
         std::memcmp(x.view().data, y.view().data, x.bytes()) == 0;
}

/// Absent: the embedding table is the head, unless config.json denies it. Present (as the original
/// checkpoints store it): tied if it is the same table.
bool head_is_tied(const Json& config, const TensorSource& tensors, const std::string& table) {
  if (!tensors.contains("lm_head.weight")) {
    const auto original = config_bool(config, "tie_embeddings");
    return config_bool(config, "tie_word_embeddings").value_or(original.value_or(true));
  }
  if (tensors.contains("lm_head.weight_scale") || !tensors.contains(table)) return false;
  return same_bytes(tensors, table, "lm_head.weight");
}

Mamba1Config read_config(const Json& config, const TensorSource& tensors,
                         const TensorCheck& shapes) {
  const std::string act = config_string(config, "hidden_act");
  check(act.empty() || act == "silu", ErrorCode::unsupported,
        "config.json: hidden_act {} is not supported, known is: silu", printable(act));
  check(config_bool(config, "rms_norm").value_or(true), ErrorCode::unsupported,
        "config.json: rms_norm false (LayerNorm) is not supported");

  Mamba1Config c;
  c.layers = count_layers(config, shapes);
  c.embeddings =
      shapes.find("backbone.embedding.weight") ? "backbone.embedding" : "backbone.embeddings";
  c.tied_head = head_is_tied(config, tensors, c.embeddings + ".weight");
  c.norm_eps = static_cast<float>(
      config_positive(config, {"layer_norm_epsilon", "norm_epsilon"}).value_or(1e-5));
  c.conv_bias = config_bool(config, "use_conv_bias").value_or(false);
  c.in_proj_bias = c.out_proj_bias = config_bool(config, "use_bias").value_or(false);

  const TensorInfo* table = shapes.find(c.embeddings + ".weight");
  Vote V, D, E, N, K, R;
  V.add(table, 2, 0);
  D.add(table, 2, 1);
  D.add(shapes.find("backbone.norm_f.weight"), 1, 0);
  for (std::int64_t layer = 0; layer < c.layers; ++layer) {
    const std::string mixer = mixer_prefix(layer);
    const TensorInfo* in_proj = shapes.find(mixer + "in_proj.weight");
    const TensorInfo* conv = shapes.find(mixer + "conv1d.weight");
    const TensorInfo* x_proj = shapes.find(mixer + "x_proj.weight");
    const TensorInfo* dt_proj = shapes.find(mixer + "dt_proj.weight");
    const TensorInfo* A_log = shapes.find(mixer + "A_log");
    const TensorInfo* out_proj = shapes.find(mixer + "out_proj.weight");
    D.add(in_proj, 2, 1);
    D.add(out_proj, 2, 0);
    E.add(in_proj, 2, 0, 2);
    E.add(conv, 3, 0);
    E.add(x_proj, 2, 1);
    E.add(dt_proj, 2, 0);
    E.add(A_log, 2, 0);
    E.add(shapes.find(mixer + "D"), 1, 0);
    E.add(out_proj, 2, 1);
    N.add(A_log, 2, 1);
    K.add(conv, 3, 2);
    R.add(dt_proj, 2, 1);
    if (x_proj && x_proj->shape.rank() == 2) {  // rows = R + 2 N
      if (A_log && A_log->shape.rank() == 2) R.add(x_proj->shape[0] - 2 * A_log->shape[1]);
      if (dt_proj && dt_proj->shape.rank() == 2) {
        N.add((x_proj->shape[0] - dt_proj->shape[1]) / 2);
      }
    }
    c.conv_bias |= shapes.find(mixer + "conv1d.bias") != nullptr;
    c.in_proj_bias |= shapes.find(mixer + "in_proj.bias") != nullptr;
    c.out_proj_bias |= shapes.find(mixer + "out_proj.bias") != nullptr;
  }

  const Json& ssm = config_object(config, "ssm_cfg");
  const auto from = [&](std::initializer_list<std::string_view> keys, std::string_view original,
                        std::int64_t otherwise) {
    const auto value = config_dim(config, keys);
    return value ? *value : config_dim(ssm, {original}).value_or(otherwise);
  };
  c.vocab_rows = V.result(config_dim(config, {"vocab_size"}), "the vocabulary size");
  c.d_model = D.result(config_dim(config, {"hidden_size", "d_model"}), "d_model");
  const std::int64_t expand = from({"expand"}, "expand", 2);
  c.d_inner =
      E.result(from({"intermediate_size", "d_inner"}, "d_inner", expand * c.d_model), "d_inner");
  c.d_state = N.result(from({"state_size"}, "d_state", 16), "d_state");
  c.d_conv = K.result(from({"conv_kernel"}, "d_conv", 4), "d_conv");
  check(c.d_conv <= 16, ErrorCode::unsupported,
        "convolutions over {} tokens are not supported, at most 16 are", c.d_conv);
  c.dt_rank = R.result(from({"time_step_rank"}, "dt_rank", (c.d_model + 15) / 16), "dt_rank");
  c.vocab_size = std::min(config_dim(config, {"vocab_size"}).value_or(c.vocab_rows), c.vocab_rows);
  return c;
}

void add_layer(const Mamba1Config& c, int layer, ModelLayout& layout) {
  const std::string block = fmt::format("backbone.layers.{}.", layer);
  const std::string mixer = block + "mixer.";
  const auto [D, E, N, K, R] = std::tuple(c.d_model, c.d_inner, c.d_state, c.d_conv, c.dt_rank);
  const int first = static_cast<int>(layout.activations.size());
  const auto site = [&](Mamba1Site index) { return first + static_cast<int>(index); };
  const auto activation = [&](const char* role, std::int64_t channels, bool is_state = false,
                              bool rotatable = false) {
    layout.activations.push_back({mixer + role, role, layer, channels, is_state, rotatable});
  };
  activation("in_proj.input", D);
  activation("conv1d.input", E);
  activation("z", E);
  activation("x_proj.input", E);
  activation("dt_proj.input", R);
  activation("B", N);
  activation("C", N);
  activation("dt_proj.output", E);
  activation("ssm_state", E, true);
  activation("out_proj.input", E, false, true);

  const auto linear = [&](const char* role, std::int64_t rows, std::int64_t cols, Mamba1Site input,
                          bool has_bias = false) {
    layout.linears.push_back({mixer + role, role, layer, rows, cols, site(input), has_bias, ""});
  };
  linear("in_proj", 2 * E, D, Mamba1Site::in_proj_input, c.in_proj_bias);
  linear("x_proj", R + 2 * N, E, Mamba1Site::x_proj_input);
  linear("dt_proj", E, R, Mamba1Site::dt_proj_input);
  linear("out_proj", D, E, Mamba1Site::out_proj_input, c.out_proj_bias);

  const auto param = [&](const std::string& prefix, const char* name, const char* role, Shape shape,
                         bool quantizable = true) {
    layout.params.push_back({prefix + name, role, layer, shape, quantizable});
  };
  param(block, "norm.weight", "norm", {D}, false);
  param(mixer, "conv1d.weight", "conv1d.weight", {E, 1, K});
  if (c.conv_bias) param(mixer, "conv1d.bias", "conv1d.bias", {E});
  param(mixer, "dt_proj.bias", "dt_proj.bias", {E});
  param(mixer, "A_log", "A_log", {E, N});
  param(mixer, "D", "D", {E});
}

}  // namespace

Mamba1Config read_mamba1_config(const Json& config, const TensorSource& tensors) {
  return read_config(config, tensors, TensorCheck(tensors));
}

ModelLayout describe_mamba1(const Json& config, const TensorSource& tensors) {
  TensorCheck shapes(tensors);
  const Mamba1Config c = read_config(config, tensors, shapes);
  ModelLayout layout;
  layout.info = {"MambaForCausalLM", "mamba", c.d_model, c.layers, c.vocab_rows, c.vocab_size, 0};
  layout.linears.push_back(
      {c.embeddings, "embeddings", -1, c.vocab_rows, c.d_model, -1, false, ""});
  for (int layer = 0; layer < c.layers; ++layer) add_layer(c, layer, layout);
  layout.params.push_back({"backbone.norm_f.weight", "norm_f", -1, {c.d_model}, false});
  layout.linears.push_back({"lm_head", "lm_head", -1, c.vocab_rows, c.d_model,
                            static_cast<int>(layout.activations.size()), false,
                            c.tied_head ? c.embeddings : ""});
  layout.activations.push_back({"lm_head.input", "lm_head.input", -1, c.d_model, false, false});

  const auto numerics = parse_numerics(config, layout);
  for (const LinearSite& site : layout.linears) shapes.expect(site);
  for (const ParamSite& site : layout.params) shapes.expect(site);
  for (const ActivationSite& site : layout.activations) {
    const auto it = numerics.find(site.role);
    if (it == numerics.end()) continue;
    const QuantArgs& args = it->second.args;
    if (it->second.quantized && !args.dynamic && !args.is_float) {
      shapes.expect_scale(site, args.strategy == Strategy::channel);
    }
  }
  // The duplicate of a tied table, as the original checkpoints have it, is used by being equal.
  if (c.tied_head && shapes.find("lm_head.weight")) {
    shapes.expect(LinearSite{"lm_head", "lm_head", -1, c.vocab_rows, c.d_model, -1, false, ""});
  }
  shapes.finish("MambaForCausalLM");

  for (const LinearSite& site : layout.linears) {
    if (site.tied_to.empty()) {
      layout.info.parameters += site.rows * site.cols + (site.has_bias ? site.rows : 0);
    }
  }
  for (const ParamSite& site : layout.params) layout.info.parameters += site.shape.elements();
  return layout;
}

}  // namespace krait
