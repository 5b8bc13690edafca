#include "models/gpt_neox.h"

#include <cmath>

#include "core/check.h"
#include "kernels/linear/linear.h"
#include "kernels/norm/norm.h"
#include "models/activations.h"
#include "models/cached_attention.h"
#include "models/decoder.h"
#include "models/fingerprint.h"

namespace krait {
namespace {

struct Layer {
  Norm attention_norm, mlp_norm;
  Weight query_key_value;  // [3D, D]: of each head the rows of q, k and v
  CachedAttention attention;
  Weight dense;     // [D, D]
  Weight up, down;  // dense_h_to_4h [F, D], dense_4h_to_h [D, F]
  Site query_key_value_input, dense_input, up_input, down_input;
};

/// cos and sin of the batch's positions, [T, half] each.
struct Angles {
  const float *cos, *sin;
};

class GptNeox final : public Decoder {
 public:
  GptNeox(Context& ctx, const Json& config, const TensorSource& tensors);

 private:
  const float* run_layers(Context& ctx, const Batch& batch, int begin, int end,
                          float* residual) const override;
  Layer load_layer(Context& ctx, const TensorSource& tensors, int layer, StateLayout& state) const;
  Angles angles(Context& ctx, const Batch& batch) const;
  void attend(Context& ctx, const Layer& layer, const Batch& batch, const Angles& angles,
              const Activation& hidden, float* out) const;
  void feed_forward(Context& ctx, const Layer& layer, const Activation& hidden, float* out) const;

  GptNeoxConfig c_;
  std::vector<Layer> layers_;
  std::vector<float> inverse_frequency_;
};

const float* GptNeox::run_layers(Context& ctx, const Batch& batch, int begin, int end,
                                 float* residual) const {
  const auto T = static_cast<std::int64_t>(batch.ids.size());
  const std::int64_t D = c_.d_model;
  const Angles positions = angles(ctx, batch);
  float* attended = ctx.arena.take<float>(T * D);
  float* fed = ctx.arena.take<float>(T * D);
  const float* add = nullptr;
  for (int i = begin; i < end; ++i) {
    const Layer& layer = layers_[static_cast<std::size_t>(i)];
    const auto normed = [&](const Norm& norm, const Site& site, const float* more) {
      return norm_to_site(ctx, residual, more, norm, site, T);  // [T, D]
    };
    const Arena::Scope layer_scope(ctx.arena);
    attend(ctx, layer, batch, positions,
           normed(layer.attention_norm, layer.query_key_value_input, add), attended);
    feed_forward(ctx, layer,
                 normed(layer.mlp_norm, layer.up_input, c_.parallel_residual ? nullptr : attended),
                 fed);
    if (c_.parallel_residual) add_rows(ctx, fed, attended, T, D);
    add = fed;
  }
  return add;
}

Angles GptNeox::angles(Context& ctx, const Batch& batch) const {
  const auto T = static_cast<std::int64_t>(batch.ids.size()), half = c_.rotary_dims / 2;
  float* cos = ctx.arena.take<float>(T * half);
  float* sin = ctx.arena.take<float>(T * half);
  for_each_sequence(
      ctx, batch, [&](Context&, const SequenceState& state, std::int64_t begin, std::int64_t end) {
        rotary_angles(inverse_frequency_.data(), half, state.position(), end - begin,
                      cos + begin * half, sin + begin * half);
      });
  return {cos, sin};
}

void GptNeox::attend(Context& ctx, const Layer& layer, const Batch& batch, const Angles& angles,
                     const Activation& hidden, float* out) const {
  const std::int64_t T = hidden.rows, D = c_.d_model, H = c_.attention.heads;
  const std::int64_t dim = c_.attention.head_dim, half = c_.rotary_dims / 2;
  float* qkv = ctx.arena.take<float>(T * 3 * D);  // [T, heads, 3, head_dim]
  linear(ctx, layer.query_key_value, hidden, f32_activation(qkv, T, 3 * D));
  const HeadInputs in{.q = {qkv, 3 * D, 3 * dim},
                      .k = {qkv + dim, 3 * D, 3 * dim},
                      .v = {qkv + 2 * dim, 3 * D, 3 * dim}};
  rotary(ctx, angles.cos, angles.sin, half, in.q, T, H);
  rotary(ctx, angles.cos, angles.sin, half, in.k, T, H);
  const Activation mixed = f32_activation(ctx.arena.take<float>(T * D), T, D);
  run_attention(ctx, layer.attention, batch, in, mixed);
  linear(ctx, layer.dense, to_site(ctx, layer.dense_input, mixed), f32_activation(out, T, D));
}

void GptNeox::feed_forward(Context& ctx, const Layer& layer, const Activation& hidden,
                           float* out) const {
  const std::int64_t T = hidden.rows, F = c_.d_ff;
  const Activation wide = f32_activation(ctx.arena.take<float>(T * F), T, F);
  linear(ctx, layer.up, hidden, wide);
  Activation active = wide;
  if (layer.down_input.numerics.hadamard_block > 0) {  // rotated between the two
    gelu(ctx, c_.gelu, wide, wide);
    active = to_site(ctx, layer.down_input, wide);
  } else {
    if (layer.down_input.is_int8()) active = take_site(ctx, layer.down_input, T);
    gelu(ctx, c_.gelu, wide, active);
    observe(ctx, layer.down_input, active);
  }
  linear(ctx, layer.down, active, f32_activation(out, T, c_.d_model));
}

// ---- loading ------------------------------------------------------------------------------------

Layer GptNeox::load_layer(Context& ctx, const TensorSource& tensors, int layer,
                          StateLayout& state) const {
  const auto site = [&](std::string_view role) {
    return load_site(tensors, layout_, role, layer, numerics_);
  };
  const auto weight = [&](std::string_view role, const Site& input) {
    const LinearSite& described = find_site(layout_.linears, role, layer);
    Weight result = load_weight(ctx, tensors, described, true);
    check_input(result, described, input);
    return result;
  };
  const std::string block = fmt::format("gpt_neox.layers.{}.", layer);
  Layer l;
  l.attention_norm = load_norm(tensors, block + "input_layernorm", c_.norm_eps);
  l.mlp_norm = load_norm(tensors, block + "post_attention_layernorm", c_.norm_eps);
  l.query_key_value_input = site("query_key_value.input");
  l.dense_input = site("dense.input");
  l.up_input = site("dense_h_to_4h.input");
  l.down_input = site("dense_4h_to_h.input");
  l.query_key_value = weight("query_key_value", l.query_key_value_input);
  l.dense = weight("dense", l.dense_input);
  l.up = weight("dense_h_to_4h", l.up_input);
  l.down = weight("dense_4h_to_h", l.down_input);
  l.attention = load_attention(tensors, layout_, numerics_, c_.attention, layer, state);
  return l;
}

GptNeox::GptNeox(Context& ctx, const Json& config, const TensorSource& tensors) {
  layout_ = describe_gpt_neox(config, tensors);
  c_ = read_gpt_neox_config(config, tensors);
  numerics_ = parse_numerics(config, layout_);
  check_finite(ctx, tensors, kGptNeoxBuffers);
  for (std::int64_t i = 0; i < c_.rotary_dims; i += 2) {
    const auto exponent = static_cast<double>(i) / static_cast<double>(c_.rotary_dims);
    inverse_frequency_.push_back(static_cast<float>(1 / std::pow(c_.rotary_base, exponent)));
  }
  auto state = std::make_shared<StateLayout>();
  state->fingerprint = model_fingerprint(config, info(), tensors);
  ends_ = load_ends(ctx, tensors, layout_, numerics_, c_.norm_eps);
  weight_bytes_ = read_bytes(ends_);
  for (int i = 0; i < c_.layers; ++i) {
    layers_.push_back(load_layer(ctx, tensors, i, *state));
    const Layer& l = layers_.back();
    weight_bytes_ += read_bytes(l.attention_norm) + read_bytes(l.mlp_norm);
    for (const Weight* weight : {&l.query_key_value, &l.dense, &l.up, &l.down}) {
      weight_bytes_ += read_bytes(*weight);
    }
  }
  state_layout_ = std::move(state);
}

}  // namespace

std::unique_ptr<Model> load_gpt_neox(Context& ctx, const Json& config,
                                     const TensorSource& tensors) {
  return std::make_unique<GptNeox>(ctx, config, tensors);
}

}  // namespace krait
