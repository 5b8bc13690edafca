#include "models/mamba1.h"

#include "core/check.h"
#include "models/activations.h"
#include "models/decoder.h"
#include "models/fingerprint.h"
#include "models/mamba_mixer.h"

namespace krait {
namespace {

struct Layer {
  Norm norm;
  MambaMixer mixer;
};

class Mamba1 final : public Decoder {
 public:
  Mamba1(Context& ctx, const Json& config, const TensorSource& tensors);

 private:
  const float* run_layers(Context& ctx, const Batch& batch, int begin, int end,
                          float* residual) const override;
  std::vector<Layer> layers_;
};

const float* Mamba1::run_layers(Context& ctx, const Batch& batch, int begin, int end,
                                float* residual) const {
  const auto T = static_cast<std::int64_t>(batch.ids.size());
  float* out = ctx.arena.take<float>(T * layout_.info.d_model);  // [T, D], what a layer adds to it
  const float* add = nullptr;
  for (int i = begin; i < end; ++i) {
    const Layer& layer = layers_[static_cast<std::size_t>(i)];
    const Arena::Scope layer_scope(ctx.arena);
    const Activation hidden =
        norm_to_site(ctx, residual, add, layer.norm, layer.mixer.in_proj_input, T);  // [T, D]
    run_mamba_mixer(ctx, layer.mixer, batch, hidden, out);
    add = out;
  }
  return add;
}

Mamba1::Mamba1(Context& ctx, const Json& config, const TensorSource& tensors) {
  layout_ = describe_mamba1(config, tensors);
  const Mamba1Config c = read_mamba1_config(config, tensors);
  numerics_ = parse_numerics(config, layout_);
  check_finite(ctx, tensors);
  auto state = std::make_shared<StateLayout>();
  state->fingerprint = model_fingerprint(config, info(), tensors);
  ends_ = load_ends(ctx, tensors, layout_, numerics_, c.norm_eps);
  weight_bytes_ = read_bytes(ends_);
  for (int i = 0; i < c.layers; ++i) {
    layers_.push_back({load_norm(tensors, fmt::format("backbone.layers.{}.norm", i), c.norm_eps),
                       load_mamba_mixer(ctx, tensors, layout_, numerics_, c.mixer, i, *state)});
    weight_bytes_ += read_bytes(layers_.back().norm) + read_bytes(layers_.back().mixer);
  }
  state_layout_ = std::move(state);
}

}  // namespace

std::unique_ptr<Model> load_mamba1(Context& ctx, const Json& config, const TensorSource& tensors) {
  return std::make_unique<Mamba1>(ctx, config, tensors);
}

}  // namespace krait
