// Mamba-2 (Dao and Gu 2024, "Transformers are SSMs", arXiv 2405.21060), as transformers'
// Mamba2ForCausalLM, the original state-spaces checkpoints and Codestral store it.
#include <algorithm>
#include <array>

#include "core/check.h"
#include "models/config.h"
#include "models/families/all.h"

namespace krait {
namespace {

/// E, H, P, G and N: no tensor tells G alone, G N is all that they show.
void read_sizes(const ModelFiles& files, std::int64_t D, const std::string& mixer,
                Mamba2Spec& spec) {
  const Json& config = files.config;
  const Json& ssm = config_object(config, "ssm_cfg");
  const auto told = [&](Keys keys, std::string_view original) {
    const auto value = config_dim(config, keys);
    return value ? value : config_dim(ssm, {original});
  };
  const std::int64_t expand = told({"expand"}, "expand").value_or(2);
  const std::int64_t E = size_of_model(
      {told({"intermediate_size", "d_inner"}, "d_inner"), files.dim(mixer + "norm.weight", 1, 0),
       std::min(expand, std::int64_t{1} << 20) * D},
      "d_inner");
  spec.heads = size_of_model({config_dim(config, {"num_heads"}), files.dim(mixer + "A_log", 1, 0)},
                             "the number of heads");
  const auto head_dim = told({"head_dim"}, "headdim");
  check(E % spec.heads == 0, ErrorCode::bad_data, "config.json: {} heads do not divide d_inner {}",
        spec.heads, E);
  spec.head_dim = E / spec.heads;
  check(!head_dim || *head_dim == spec.head_dim, ErrorCode::bad_data,
        "config.json: {} heads of {} channels are not d_inner {}", spec.heads, head_dim.value_or(0),
        E);
  const auto states = told({"state_size"}, "d_state");
  const auto groups = told({"n_groups", "ngroups"}, "ngroups");
  const auto conv_channels = files.dim(mixer + "conv1d.weight", 3, 0);
  const std::int64_t GN =
      conv_channels ? (*conv_channels - E) / 2 : groups.value_or(1) * states.value_or(128);
  check(GN > 0 && GN < (std::int64_t{1} << 31) && (!conv_channels || *conv_channels == E + 2 * GN),
        ErrorCode::bad_data,
        "{}: conv1d.weight has {} channels, which are not d_inner {} and those of B and C",
        files.shapes.where(), conv_channels.value_or(0), E);
  spec.groups = groups.value_or(std::max<std::int64_t>(1, GN / states.value_or(128)));
  check(spec.heads % spec.groups == 0, ErrorCode::bad_data,
        "config.json: {} groups do not divide {} heads", spec.groups, spec.heads);
  check(GN % spec.groups == 0, ErrorCode::bad_data,
        "config.json: {} groups do not divide the {} channels of B", spec.groups, GN);
  spec.d_state = GN / spec.groups;
}

DecoderConfig read(const ModelFiles& files) {
  const Json& config = files.config;
  const Json& ssm = config_object(config, "ssm_cfg");
  files.activation({"silu"});
  check(config_bool(config, "rms_norm").value_or(true), ErrorCode::unsupported,
        "config.json: rms_norm false is not supported");
  // transformers writes norm_before_gate and ignores it; the original obeys its own.
  check(!config_bool(ssm, "norm_before_gate").value_or(false), ErrorCode::unsupported,
        "config.json: ssm_cfg.norm_before_gate true is not supported");
  const float eps = static_cast<float>(
      config_positive(config, {"layer_norm_epsilon", "norm_epsilon"}).value_or(1e-5));
  std::string root, table = "backbone.embeddings";
  for (const char* prefix : {"", "model."}) {
    for (const char* name : {"backbone.embeddings", "backbone.embedding"}) {
      if (!files.has(fmt::format("{}{}.weight", prefix, name))) continue;
      root = prefix;
      table = name;
    }
  }
  DecoderConfig decoder;
  decoder.ends = files.ends(root + table, root + "lm_head", {root + "backbone.norm_f", eps});
  const std::string layers = root + "backbone.layers.", first = layers + "0.mixer.";
  Mamba2Spec mixer{.norm_eps = eps};
  files.read_time_step_limit(mixer);
  read_sizes(files, decoder.ends.d_model, first, mixer);
  const auto taps = config_dim(config, {"conv_kernel"});
  mixer.d_conv = size_of_model(
      {taps ? taps : config_dim(ssm, {"d_conv"}), files.dim(first + "conv1d.weight", 3, 2), 4},
      "d_conv");
  check_taps(mixer.d_conv);
  const bool bias = config_bool(config, "use_bias").value_or(false);
  mixer.in_proj_bias = bias || files.has(first + "in_proj.bias");
  mixer.out_proj_bias = bias || files.has(first + "out_proj.bias");
  mixer.conv_bias =
      config_bool(config, "use_conv_bias").value_or(false) || files.has(first + "conv1d.bias");
  const std::int64_t E = mixer.d_inner();
  mixer.D_per_channel = E != mixer.heads && files.dim(first + "D", 1, 0) == E;
  const std::int64_t count = files.layers(layers, ".mixer.A_log");
  for (std::int64_t i = 0; i < count; ++i) {
    const std::string block = fmt::format("{}{}.", layers, i);
    decoder.blocks.push_back({{{block + "mixer.", {block + "norm", eps}, mixer}}});
  }
  return decoder;
}

constexpr std::array<std::string_view, 6> kNames = {"mamba2-130m", "mamba2-370m", "mamba2-780m",
                                                    "mamba2-1.3b", "mamba2-2.7b", "mamba2-8b"};

/// arXiv 2405.21060: vocabulary 50288, tied head, heads of 64 channels, 128 states, one group; and
/// the 8B model without attention of arXiv 2406.07887: 8 groups, own head.
Json published(std::string_view name) {
  constexpr struct {
    int d_model, layers, groups, vocab_size;
  } kSizes[] = {{768, 24, 1, 50288},  {1024, 48, 1, 50288}, {1536, 48, 1, 50288},
                {2048, 48, 1, 50288}, {2560, 64, 1, 50288}, {4096, 56, 8, 256000}};
  const auto [D, layers, G, V] = kSizes[std::ranges::find(kNames, name) - kNames.begin()];
  return {{"architectures", {"Mamba2ForCausalLM"}},
          {"model_type", "mamba2"},
          {"hidden_size", D},
          {"num_hidden_layers", layers},
          {"state_size", 128},
          {"num_heads", 2 * D / 64},
          {"head_dim", 64},
          {"n_groups", G},
          {"expand", 2},
          {"conv_kernel", 4},
          {"vocab_size", V},
          {"layer_norm_epsilon", 1e-5},
          {"use_bias", false},
          {"use_conv_bias", true},
          {"hidden_act", "silu"},
          {"tie_word_embeddings", G == 1},
          {"torch_dtype", "float16"}};
}

}  // namespace

constinit const Family kMamba2 = {
    "Mamba2ForCausalLM", "mamba2", "Mamba2", read, {kNames, published}};

}  // namespace krait
