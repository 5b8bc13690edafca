// Sizes and sites of Mamba-2, from config.json and the tensors' names and shapes.
#include <array>
#include <cmath>
#include <limits>

#include "core/check.h"
#include "core/printable.h"
#include "models/config.h"
#include "models/describe.h"
#include "models/mamba2.h"

namespace krait {
namespace {

/// Lower and upper bound of the time step: a list of two numbers.
std::array<float, 2> time_step_limit(const Json& config, const Json& ssm) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const auto& [object, key] : {std::pair(&config, "time_step_limit"), {&ssm, "dt_limit"}}) {
    const auto it = object->find(key);
    if (it == object->end() || it->is_null()) continue;
    std::array<float, 2> bounds = {-1, -1};
    if (it->is_array() && it->size() == 2 && it->at(0).is_number() && it->at(1).is_number()) {
      bounds = {it->at(0).get<float>(), it->at(1).get<float>()};
    }
    check(bounds[0] >= 0 && bounds[0] <= bounds[1] && std::isfinite(bounds[0]), ErrorCode::bad_data,
          "config.json: {} must be two numbers, 0 <= low <= high, got {}", key,
          printable(it->dump(-1, ' ', true, Json::error_handler_t::replace), 40));
    return bounds;
  }
  return {0.0f, kInfinity};
}

/// The number of groups that share B and C: no tensor tells, G N is all that they show.
std::int64_t count_groups(const Json& config, const Json& ssm, std::int64_t group_channels) {
  auto groups = config_dim(config, {"n_groups", "ngroups"});
  if (!groups) groups = config_dim(ssm, {"ngroups"});
  if (groups) return *groups;
  auto states = config_dim(config, {"state_size"});
  if (!states) states = config_dim(ssm, {"d_state"});
  return std::max<std::int64_t>(1, group_channels / states.value_or(128));
}

void check_supported(const Json& config, const Json& ssm) {
  const std::string act = config_string(config, "hidden_act");
  check(act.empty() || act == "silu", ErrorCode::unsupported,
        "config.json: hidden_act {} is not supported, known is: silu", printable(act));
  check(config_bool(config, "rms_norm").value_or(true), ErrorCode::unsupported,
        "config.json: rms_norm false is not supported");
  // transformers writes norm_before_gate and ignores it; the original obeys its own.
  check(!config_bool(ssm, "norm_before_gate").value_or(false), ErrorCode::unsupported,
        "config.json: ssm_cfg.norm_before_gate true is not supported");
}

/// Refuses sizes that do not divide each other, and a config.json that contradicts the tensors on
/// the split into heads, which no tensor's shape would show.
void check_sizes(const Json& config, const Json& ssm, const Mamba2Config& c,
                 std::int64_t group_channels) {
  const auto divides = [](std::int64_t n, std::int64_t all) { return all % n == 0; };
  check(divides(c.heads, c.d_inner), ErrorCode::bad_data,
        "config.json: {} heads do not divide d_inner {}", c.heads, c.d_inner);
  check(divides(c.groups, c.heads), ErrorCode::bad_data,
        "config.json: {} groups do not divide {} heads", c.groups, c.heads);
  check(divides(c.groups, group_channels), ErrorCode::bad_data,
        "config.json: {} groups do not divide the {} channels of B", c.groups, group_channels);
  auto head_dim = config_dim(config, {"head_dim"});
  if (!head_dim) head_dim = config_dim(ssm, {"headdim"});
  check(!head_dim || *head_dim * c.heads == c.d_inner, ErrorCode::bad_data,
        "config.json: {} heads of {} channels are not d_inner {}", c.heads, head_dim.value_or(0),
        c.d_inner);
  check(c.d_conv <= 16, ErrorCode::unsupported,
        "convolutions over {} tokens are not supported, at most 16 are", c.d_conv);
}

Mamba2Config read_config(const Json& config, const TensorSource& tensors,
                         const TensorCheck& shapes) {
  const Json& ssm = config_object(config, "ssm_cfg");
  check_supported(config, ssm);
  Mamba2Config c;
  for (const char* root : {"", "model."}) {
    for (const char* table : {"backbone.embedding", "backbone.embeddings"}) {
      const std::string name = std::string(root) + table;
      if (!c.embeddings.empty() && !shapes.find(name + ".weight")) continue;
      c.root = root;
      c.embeddings = name;
    }
    if (shapes.find(c.embeddings + ".weight")) break;
  }
  if (!shapes.find(c.embeddings + ".weight")) {
    c.root = "";
    c.embeddings = "backbone.embeddings";
  }
  const std::string layers = c.root + "backbone.layers.";
  c.layers = count_layers(config, shapes, layers, ".mixer.A_log");
  c.tied_head = head_is_tied(config, tensors, c.embeddings, c.root + "lm_head");
  c.norm_eps = static_cast<float>(
      config_positive(config, {"layer_norm_epsilon", "norm_epsilon"}).value_or(1e-5));
  const auto limit = time_step_limit(config, ssm);
  c.dt_min = limit[0];
  c.dt_max = limit[1];
  c.conv_bias = config_bool(config, "use_conv_bias").value_or(false);
  c.in_proj_bias = c.out_proj_bias = config_bool(config, "use_bias").value_or(false);

  const TensorInfo* table = shapes.find(c.embeddings + ".weight");
  Vote V, D, E, H, K, conv;
  V.add(table, 2, 0);
  D.add(table, 2, 1);
  D.add(shapes.find(c.root + "backbone.norm_f.weight"), 1, 0);
  for (std::int64_t layer = 0; layer < c.layers; ++layer) {
    const std::string mixer = fmt::format("{}{}.mixer.", layers, layer);
    const TensorInfo* conv_weight = shapes.find(mixer + "conv1d.weight");
    D.add(shapes.find(mixer + "in_proj.weight"), 2, 1);
    D.add(shapes.find(mixer + "out_proj.weight"), 2, 0);
    E.add(shapes.find(mixer + "out_proj.weight"), 2, 1);
    E.add(shapes.find(mixer + "norm.weight"), 1, 0);
    H.add(shapes.find(mixer + "A_log"), 1, 0);
    H.add(shapes.find(mixer + "dt_bias"), 1, 0);
    K.add(conv_weight, 3, 2);
    conv.add(conv_weight, 3, 0);
    c.conv_bias |= shapes.find(mixer + "conv1d.bias") != nullptr;
    c.in_proj_bias |= shapes.find(mixer + "in_proj.bias") != nullptr;
    c.out_proj_bias |= shapes.find(mixer + "out_proj.bias") != nullptr;
  }

  const auto from = [&](std::initializer_list<std::string_view> keys, std::string_view original) {
    const auto value = config_dim(config, keys);
    return value ? value : config_dim(ssm, {original});
  };
  c.vocab_rows = V.result(config_dim(config, {"vocab_size"}), "the vocabulary size");
  c.d_model = D.result(config_dim(config, {"hidden_size", "d_model", "dim"}), "d_model");
  const std::int64_t expand = from({"expand"}, "expand").value_or(2);
  c.d_inner = E.result(from({"intermediate_size", "d_inner"}, "d_inner")
                           .value_or(std::min(expand, std::int64_t{1} << 20) * c.d_model),
                       "d_inner");
  c.heads = H.result(config_dim(config, {"num_heads"}), "the number of heads");
  c.d_conv = K.result(from({"conv_kernel"}, "d_conv").value_or(4), "d_conv");
  const std::int64_t conv_channels = conv.result(std::nullopt, "the channels of the convolution");
  check(conv_channels > c.d_inner && (conv_channels - c.d_inner) % 2 == 0, ErrorCode::bad_data,
        "{}: conv1d.weight has {} channels, which are not d_inner {} and those of B and C",
        shapes.where(), conv_channels, c.d_inner);
  const std::int64_t group_channels = (conv_channels - c.d_inner) / 2;
  c.groups = count_groups(config, ssm, group_channels);
  check_sizes(config, ssm, c, group_channels);
  c.d_state = group_channels / c.groups;
  const TensorInfo* first_D = shapes.find(layers + "0.mixer.D");
  c.D_per_channel = first_D && first_D->shape == Shape{c.d_inner} && c.d_inner != c.heads;
  c.vocab_size = std::min(config_dim(config, {"vocab_size"}).value_or(c.vocab_rows), c.vocab_rows);
  return c;
}

/// What moves when heads and channels change places: all that x, z and dt index.
HeadOrder head_order(const Mamba2Config& c, const SiteWriter& to) {
  const std::int64_t E = c.d_inner;
  HeadOrder order{"x", "ssm_state", to.layer, c.heads, c.head_dim(), c.groups, {}};
  const auto channels = [&](const char* name, int dim, std::int64_t begin) {
    order.ranges.push_back({to.prefix + name, dim, begin, false});
  };
  const auto heads = [&](const char* name, std::int64_t begin) {
    order.ranges.push_back({to.prefix + name, 0, begin, true});
  };
  std::vector<const char*> projections = {"in_proj.weight"};
  if (c.in_proj_bias) projections.push_back("in_proj.bias");
  for (const char* name : projections) {
    channels(name, 0, 0);                         // z
    channels(name, 0, E);                         // x
    heads(name, 2 * E + 2 * c.group_channels());  // dt
  }
  channels("conv1d.weight", 0, 0);
  if (c.conv_bias) channels("conv1d.bias", 0, 0);
  for (const char* name : {"dt_bias", "A_log"}) heads(name, 0);
  if (c.D_per_channel) {
    channels("D", 0, 0);
  } else {
    heads("D", 0);
  }
  channels("norm.weight", 0, 0);
  channels("out_proj.weight", 1, 0);
  return order;
}

void describe_mixer(const Mamba2Config& c, const SiteWriter& to, std::string_view norm) {
  const std::int64_t D = c.d_model, E = c.d_inner, H = c.heads, GN = c.group_channels();
  const int in_proj = to.normed(to.rotatable("in_proj.input", D), norm);
  to.activation("z", E);
  to.activation("conv1d.x", E);
  to.activation("conv1d.B", GN);
  to.activation("conv1d.C", GN);
  to.activation("dt", H);
  to.grouped(to.activation("x", E), c.groups);
  to.grouped(to.rotatable("B", GN), c.groups);
  to.grouped(to.rotatable("C", GN), c.groups);
  to.grouped(to.state("ssm_state", E), c.groups).states = c.d_state;
  const int out_proj = to.normed(to.rotatable("out_proj.input", E), to.prefix + "norm");

  to.linear("in_proj", 2 * E + 2 * GN + H, D, in_proj, c.in_proj_bias);
  to.layout.linears.back().parts = {E, E, GN, GN, H};
  to.layout.linears.back().bias_key = "use_bias";
  to.residual_linear("out_proj", D, E, out_proj, c.out_proj_bias);
  to.layout.linears.back().bias_key = "use_bias";

  to.param("conv1d.weight", {c.conv_channels(), 1, c.d_conv});
  to.layout.params.back().parts = {E, GN, GN};
  if (c.conv_bias) {
    to.param("conv1d.bias", {c.conv_channels()});
    to.layout.params.back().parts = {E, GN, GN};
  }
  to.param("dt_bias", {H});
  to.param("A_log", {H});
  to.param("D", {c.D_per_channel ? E : H});
  to.norm("norm.weight", "gated_norm", E);

  to.layout.head_orders.push_back(head_order(c, to));
}

}  // namespace

Mamba2Config read_mamba2_config(const Json& config, const TensorSource& tensors) {
  return read_config(config, tensors, TensorCheck(tensors));
}

ModelLayout describe_mamba2(const Json& config, const TensorSource& tensors) {
  TensorCheck shapes(tensors);
  const Mamba2Config c = read_config(config, tensors, shapes);
  const std::int64_t D = c.d_model;
  ModelLayout layout;
  layout.info = {"Mamba2ForCausalLM", "mamba2", D, c.layers, c.vocab_rows, c.vocab_size, 0};
  layout.linears.push_back({c.embeddings, "embeddings", -1, c.vocab_rows, D, -1, false, ""});
  for (int layer = 0; layer < c.layers; ++layer) {
    const std::string block = fmt::format("{}backbone.layers.{}.", c.root, layer);
    SiteWriter{layout, block, layer}.norm("norm.weight", "norm", D);
    describe_mixer(c, {layout, block + "mixer.", layer}, block + "norm");
  }
  const SiteWriter outside{layout, c.root, -1};
  outside.norm("backbone.norm_f.weight", "norm_f", D);
  outside.linear("lm_head", c.vocab_rows, D,
                 outside.normed(outside.rotatable("lm_head.input", D), c.root + "backbone.norm_f"));
  if (c.tied_head) layout.linears.back().tied_to = c.embeddings;
  check_layout(config, shapes, layout);
  return layout;
}

}  // namespace krait
