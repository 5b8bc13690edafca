#include "models/jamba.h"

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <vector>

#include "core/check.h"
#include "core/printable.h"
#include "core/system_memory.h"
#include "kernels/linear/linear.h"
#include "kernels/nonlinearity/nonlinearity.h"
#include "kernels/routing/routing.h"
#include "models/activations.h"
#include "models/cached_attention.h"
#include "models/decoder.h"
#include "models/fingerprint.h"

namespace krait {
namespace {

struct AttentionLayer {
  Weight q_proj, k_proj, v_proj, o_proj;
  CachedAttention attention;
  Site input, o_proj_input;
};

struct Expert {
  Weight gate, up, down;  // [F, D], [F, D], [D, F]
};

struct Layer {
  Norm norm, feed_forward_norm;
  std::optional<MambaMixer> mixer;  // or
  std::optional<AttentionLayer> attention;
  Weight router;  // [experts, D], if there are several
  std::vector<Expert> experts;
  Site router_input, gate_input, down_input;
};

class Jamba final : public Decoder {
 public:
  Jamba(Context& ctx, const Json& config, const TensorSource& tensors);

 private:
  const float* run_layers(Context& ctx, const Batch& batch, int begin, int end,
                          float* residual) const override;
  Layer load_layer(Context& ctx, const TensorSource& tensors, int layer, StateLayout& state) const;
  void attend(Context& ctx, const AttentionLayer& layer, const Batch& batch,
              const Activation& hidden, float* out) const;
  void run_expert(Context& ctx, const Layer& layer, const Expert& expert, const Activation& hidden,
                  float* out) const;
  void mix_experts(Context& ctx, const Layer& layer, const Activation& hidden, float* out) const;
  std::size_t read_bytes_of(const Layer& layer) const;

  JambaConfig c_;
  bool pack_experts_ = true;
  std::vector<Layer> layers_;
};

const float* Jamba::run_layers(Context& ctx, const Batch& batch, int begin, int end,
                               float* residual) const {
  const auto T = static_cast<std::int64_t>(batch.ids.size());
  float* out = ctx.arena.take<float>(T * c_.d_model);  // what the last half of a layer adds to it
  const float* add = nullptr;
  for (int i = begin; i < end; ++i) {
    const Layer& layer = layers_[static_cast<std::size_t>(i)];
    const Arena::Scope layer_scope(ctx.arena);
    const Site& site = layer.mixer ? layer.mixer->in_proj_input : layer.attention->input;
    const Activation hidden = norm_to_site(ctx, residual, add, layer.norm, site, T);
    if (layer.mixer) {
      run_mamba_mixer(ctx, *layer.mixer, batch, hidden, out);
    } else {
      attend(ctx, *layer.attention, batch, hidden, out);
    }
    add = out;
    if (layer.experts.size() > 1) {  // the router reads what the experts' site may round
      const Activation wide = f32_activation(ctx.arena.take<float>(T * c_.d_model), T, c_.d_model);
      add_norm(ctx, residual, add, layer.feed_forward_norm, wide);
      mix_experts(ctx, layer, wide, out);
    } else {
      const Activation narrow =
          norm_to_site(ctx, residual, add, layer.feed_forward_norm, layer.gate_input, T);
      run_expert(ctx, layer, layer.experts.front(), narrow, out);
    }
  }
  return add;
}

void Jamba::attend(Context& ctx, const AttentionLayer& l, const Batch& batch,
                   const Activation& hidden, float* out) const {
  const std::int64_t T = hidden.rows, D = c_.d_model, dim = c_.attention.head_dim;
  const auto product = [&](const Weight& weight) {
    const Activation y = f32_activation(ctx.arena.take<float>(T * weight.rows()), T, weight.rows());
    linear(ctx, weight, hidden, y);
    return HeadRows{static_cast<float*>(y.data), weight.rows(), dim};
  };
  const HeadRows q = product(l.q_proj), k = product(l.k_proj), v = product(l.v_proj);
  const Activation mixed = f32_activation(ctx.arena.take<float>(T * D), T, D);
  run_attention(ctx, l.attention, batch, {q, k, v}, mixed);
  linear(ctx, l.o_proj, to_site(ctx, l.o_proj_input, mixed), f32_activation(out, T, D));
}

/// out [T, D] = W_down (silu(W_gate hidden) * W_up hidden); hidden is gate_input's value.
void Jamba::run_expert(Context& ctx, const Layer& layer, const Expert& expert,
                       const Activation& hidden, float* out) const {
  const std::int64_t T = hidden.rows, F = c_.d_ff;
  const Activation gate = f32_activation(ctx.arena.take<float>(T * F), T, F);
  const Activation up = f32_activation(ctx.arena.take<float>(T * F), T, F);
  linear(ctx, expert.gate, hidden, gate);
  linear(ctx, expert.up, hidden, up);
  Activation active = gate;
  if (layer.down_input.numerics.hadamard_block > 0) {  // rotated between the two
    silu_product(ctx, gate, up, gate);
    active = to_site(ctx, layer.down_input, gate);
  } else {
    if (layer.down_input.is_int8()) active = take_site(ctx, layer.down_input, T);
    silu_product(ctx, gate, up, active);
    observe(ctx, layer.down_input, active);
  }
  linear(ctx, expert.down, active, f32_activation(out, T, c_.d_model));
}

/// out [T, D] = the sum over each token's experts, in the order of their indices. Only the weights
/// of experts that a token asks for are touched.
void Jamba::mix_experts(Context& ctx, const Layer& layer, const Activation& hidden,
                        float* out) const {
  const std::int64_t T = hidden.rows, D = c_.d_model, k = c_.experts_per_token;
  const auto experts = static_cast<std::int64_t>(layer.experts.size());
  const Activation logits = f32_activation(ctx.arena.take<float>(T * experts), T, experts);
  Activation routed = hidden;
  if (layer.router_input.numerics.hadamard_block > 0) {  // in place, and the experts read it too
    routed.data = ctx.arena.take<float>(T * D);
    std::copy_n(hidden.f32(), T * D, static_cast<float*>(routed.data));
  }
  linear(ctx, layer.router, to_site(ctx, layer.router_input, routed), logits);
  auto* chosen = ctx.arena.take<std::int32_t>(T * k);
  float* weights = ctx.arena.take<float>(T * k);
  top_experts(ctx, logits, k, chosen, weights);

  const Activation x = to_site(ctx, layer.gate_input, hidden);
  auto* tokens = ctx.arena.take<std::int32_t>(T);
  float* shares = ctx.arena.take<float>(T);
  std::fill_n(out, T * D, 0.0f);
  for (std::int64_t e = 0; e < experts; ++e) {
    std::int64_t count = 0;
    for (std::int64_t i = 0; i < T * k; ++i) {
      if (chosen[i] != e) continue;
      tokens[count] = static_cast<std::int32_t>(i / k);
      shares[count++] = weights[i];
    }
    if (count == 0) continue;
    const Arena::Scope scope(ctx.arena);
    const Activation mine = take_site(ctx, layer.gate_input, count);
    gather_rows(x, tokens, mine);
    float* answers = ctx.arena.take<float>(count * D);
    run_expert(ctx, layer, layer.experts[static_cast<std::size_t>(e)], mine, answers);
    add_weighted_rows(ctx, f32_activation(answers, count, D), tokens, shares, out);
  }
}

// ---- loading ------------------------------------------------------------------------------------

/// Whether the integers of a mixture's experts are copied into memory, packed for the products.
/// Otherwise they stay where they are, in the mapped file, are touched as routed and packed on the
/// way: slower, but there need not be room for all.
bool packs_experts(const TensorSource& tensors) {
  const char* const wanted = std::getenv("KRAIT_EXPERTS");
  if (wanted && *wanted) {
    const std::string_view choice = wanted;
    check(choice == "packed" || choice == "mapped", ErrorCode::invalid_argument,
          "KRAIT_EXPERTS={} is not known; choices: packed, mapped", printable(choice, 64));
    return choice == "packed";
  }
  std::size_t bytes = 0;
  for (const TensorInfo& info : tensors.list()) {
    if (is_float(info.dtype) || info.name.find(".experts.") == std::string::npos) continue;
    bytes += static_cast<std::size_t>(info.shape.elements()) * size_of(info.dtype);
  }
  return bytes <= system_memory_bytes() / 2;
}

Layer Jamba::load_layer(Context& ctx, const TensorSource& tensors, int layer,
                        StateLayout& state) const {
  const auto site = [&](std::string_view role) {
    return load_site(tensors, layout_, role, layer, numerics_);
  };
  const auto weight = [&](const std::string& name, const Site& input, bool packed = true) {
    const auto described = std::find_if(layout_.linears.begin(), layout_.linears.end(),
                                        [&](const LinearSite& s) { return s.name == name; });
    Weight result = load_weight(ctx, tensors, *described, packed);
    check_input(result, *described, input);
    return result;
  };
  const std::string block = fmt::format("model.layers.{}.", layer);
  Layer l;
  l.norm = load_norm(tensors, block + "input_layernorm", c_.norm_eps);
  l.feed_forward_norm = load_norm(tensors, block + "pre_ff_layernorm", c_.norm_eps);
  if (c_.is_attention(layer)) {
    const std::string prefix = block + "self_attn.";
    AttentionLayer& a = l.attention.emplace();
    a.input = site("q_proj.input");
    a.o_proj_input = site("o_proj.input");
    a.q_proj = weight(prefix + "q_proj", a.input);
    a.k_proj = weight(prefix + "k_proj", a.input);
    a.v_proj = weight(prefix + "v_proj", a.input);
    a.o_proj = weight(prefix + "o_proj", a.o_proj_input);
    a.attention = load_attention(tensors, layout_, numerics_, c_.attention, layer, state);
  } else {
    l.mixer = load_mamba_mixer(ctx, tensors, layout_, numerics_, c_.mixer, layer, state);
  }
  const std::string prefix = block + c_.feed_forward;
  const std::int64_t experts = c_.experts_of(layer);
  l.gate_input = site("gate_proj.input");
  l.down_input = site("down_proj.input");
  if (experts > 1) {
    l.router_input = site("router.input");
    l.router = weight(prefix + "router", l.router_input);
  }
  for (std::int64_t e = 0; e < experts; ++e) {
    const std::string expert = experts > 1 ? fmt::format("{}experts.{}.", prefix, e) : prefix;
    const bool packed = experts == 1 || pack_experts_;
    l.experts.push_back({weight(expert + "gate_proj", l.gate_input, packed),
                         weight(expert + "up_proj", l.gate_input, packed),
                         weight(expert + "down_proj", l.down_input, packed)});
  }
  return l;
}

/// Of the experts, as many as a token takes.
std::size_t Jamba::read_bytes_of(const Layer& l) const {
  std::size_t bytes = read_bytes(l.norm) + read_bytes(l.feed_forward_norm);
  if (l.mixer) bytes += read_bytes(*l.mixer);
  if (l.attention) {
    const AttentionLayer& a = *l.attention;
    for (const Weight* weight : {&a.q_proj, &a.k_proj, &a.v_proj, &a.o_proj}) {
      bytes += read_bytes(*weight);
    }
  }
  if (l.experts.size() > 1) bytes += read_bytes(l.router);
  const auto taken = std::min(l.experts.size(), static_cast<std::size_t>(c_.experts_per_token));
  for (std::size_t e = 0; e < taken; ++e) {
    const Expert& expert = l.experts[e];
    for (const Weight* weight : {&expert.gate, &expert.up, &expert.down}) {
      bytes += read_bytes(*weight);
    }
  }
  return bytes;
}

Jamba::Jamba(Context& ctx, const Json& config, const TensorSource& tensors) {
  layout_ = describe_jamba(config, tensors);
  c_ = read_jamba_config(config, tensors);
  numerics_ = parse_numerics(config, layout_);
  check_finite(ctx, tensors);
  pack_experts_ = packs_experts(tensors);
  auto state = std::make_shared<StateLayout>();
  state->fingerprint = model_fingerprint(config, info(), tensors);
  ends_ = load_ends(ctx, tensors, layout_, numerics_, c_.norm_eps);
  weight_bytes_ = read_bytes(ends_);
  for (int i = 0; i < c_.layers; ++i) {
    layers_.push_back(load_layer(ctx, tensors, i, *state));
    weight_bytes_ += read_bytes_of(layers_.back());
  }
  state_layout_ = std::move(state);
}

}  // namespace

std::unique_ptr<Model> load_jamba(Context& ctx, const Json& config, const TensorSource& tensors) {
  return std::make_unique<Jamba>(ctx, config, tensors);
}

}  // namespace krait
