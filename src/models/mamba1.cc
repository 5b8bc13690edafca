#include "models/mamba1.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/check.h"
#include "kernels/causal_conv1d/causal_conv1d.h"
#include "kernels/hadamard/hadamard.h"
#include "kernels/linear/linear.h"
#include "kernels/norm/norm.h"
#include "kernels/quantize/quantize.h"
#include "kernels/selective_scan/selective_scan.h"
#include "models/activations.h"
#include "models/fingerprint.h"
#include "models/weights.h"

namespace krait {
namespace {

struct Layer {
  Tensor norm;      // [D]
  Weight in_proj;   // [2E, D], rows x then z
  ConvWeight conv;  // [K, E]
  Weight x_proj;    // [R + 2N, E], rows dt, B, C
  Weight dt_proj;   // [E, R]
  Tensor dt_bias;   // [E]
  Tensor a2;        // [N, E] = -exp(A_log) log2(e)
  Tensor D;         // [E]
  Weight out_proj;  // [D, E]

  Site in_proj_input, conv_input, z, x_proj_input, dt_proj_input, B, C, dt_proj_output, ssm_state,
      out_proj_input;
  Tensor xz_scale, dt_B_C_scale;  // of the columns of in_proj's and x_proj's output, if static
  std::size_t conv_buffer = 0, ssm_buffer = 0;  // in the state
};

/// A = -exp(A_log), times log2(e) as the scan raises 2 to powers; [E, N] -> [N, E]. Computed in
/// double precision and rounded once.
Tensor make_a2(const Tensor& A_log) {
  const std::int64_t E = A_log.shape()[0], N = A_log.shape()[1];
  Tensor a2(DType::f32, {N, E});
  const std::span<const float> from = A_log.as<float>();
  const std::span<float> to = a2.mutable_as<float>();
  for (std::int64_t e = 0; e < E; ++e) {
    for (std::int64_t n = 0; n < N; ++n) {
      const double a = -std::exp(static_cast<double>(from[static_cast<std::size_t>(e * N + n)]));
      to[static_cast<std::size_t>(n * E + e)] = static_cast<float>(a * std::numbers::log2e);
    }
  }
  return a2;
}

class Mamba1 final : public Model {
 public:
  Mamba1(Context& ctx, const Json& config, const TensorSource& tensors);
  void forward(Context& ctx, const Batch& batch, LogitRows rows, float* logits) const override;

 private:
  void mixer(Context& ctx, const Layer& layer, const Batch& batch, const Activation& hidden,
             float* out) const;
  void head(Context& ctx, const Batch& batch, LogitRows rows, float* residual, const float* add,
            float* logits) const;
  Activation state_of(const Layer& layer, SequenceState& state) const;
  Layer load_layer(Context& ctx, const TensorSource& tensors, int index, StateLayout& state) const;
  std::size_t count_read_bytes() const;

  Mamba1Config config_;
  Weight embeddings_;  // [V, D]
  std::vector<Layer> layers_;
  Tensor norm_f_;   // [D]
  Weight lm_head_;  // [V, D]
  Site head_input_;
};

// ---- forward ------------------------------------------------------------------------------------
// T tokens of all sequences together. Projections run over all T, convolution and scan over each
// sequence. Names and shapes as in the paper, algorithm 2 and figure 3.

template <typename Fn>
void for_each_sequence(const Batch& batch, Fn&& fn) {
  for (std::size_t i = 0; i < batch.states.size(); ++i) {
    const std::int64_t begin = batch.cu_seqlens[i], end = batch.cu_seqlens[i + 1];
    if (begin < end) fn(*batch.states[i], begin, end);
  }
}

void Mamba1::forward(Context& ctx, const Batch& batch, LogitRows rows, float* logits) const {
  const auto T = static_cast<std::int64_t>(batch.ids.size());
  const std::int64_t D = config_.d_model;
  const Arena::Scope scope(ctx.arena);
  float* residual = ctx.arena.take<float>(T * D);  // [T, D], f32 whatever the weights are
  float* out = ctx.arena.take<float>(T * D);       // [T, D], what a layer adds to it
  embedding(ctx, embeddings_, batch.ids, residual);
  const float* add = nullptr;
  for (const Layer& layer : layers_) {
    const Arena::Scope layer_scope(ctx.arena);
    const Activation hidden = take_site(ctx, layer.in_proj_input, T);  // [T, D]
    add_rms_norm(ctx, residual, add, layer.norm.as<float>().data(), config_.norm_eps, hidden);
    observe(ctx, layer.in_proj_input, hidden);
    mixer(ctx, layer, batch, hidden, out);
    add = out;
  }
  head(ctx, batch, rows, residual, add, logits);
  for (std::size_t i = 0; i < batch.states.size(); ++i) {
    batch.states[i]->advance(batch.cu_seqlens[i + 1] - batch.cu_seqlens[i]);
  }
}

void Mamba1::mixer(Context& ctx, const Layer& l, const Batch& batch, const Activation& hidden,
                   float* out) const {
  const std::int64_t T = hidden.rows, D = config_.d_model, E = config_.d_inner;

  Activation xz[2];  // x, z [T, E] = hidden W_in^T
  split_linear(ctx, l.in_proj, hidden, std::array{&l.conv_input, &l.z}, l.xz_scale, xz);
  const Activation &x = xz[0], &z = xz[1];

  // u = silu(conv(x)) [T, E]. The product reads it in its site's numerics, and so does the scan,
  // unless the scales are per token: those are for the product alone, the scan then reads f32.
  const bool conv_quantizes = l.x_proj_input.is_static_int8();
  const Activation conv_u = conv_quantizes ? take_site(ctx, l.x_proj_input, T)
                                           : f32_activation(ctx.arena.take<float>(T * E), T, E);
  for_each_sequence(batch, [&](SequenceState& state, std::int64_t begin, std::int64_t end) {
    causal_conv1d(ctx, l.conv, x.row_range(begin, end), state.buffer(l.conv_buffer),
                  conv_u.row_range(begin, end));
  });
  Activation u = conv_u;
  if (l.x_proj_input.is_int8() && !conv_quantizes) {
    u = take_site(ctx, l.x_proj_input, T);
    quantize(ctx, conv_u, u);
  }
  observe(ctx, l.x_proj_input, u);
  const Activation& scan_u = u.strategy == Strategy::token ? conv_u : u;

  Activation dt_B_C[3];  // dt [T, R], B [T, N], C [T, N] = u W_x^T
  split_linear(ctx, l.x_proj, u, std::array{&l.dt_proj_input, &l.B, &l.C}, l.dt_B_C_scale, dt_B_C);
  const Activation &dt_low = dt_B_C[0], &B = dt_B_C[1], &C = dt_B_C[2];

  const Activation dt = take_site(ctx, l.dt_proj_output, T);  // [T, E] = dt_low W_dt^T
  linear(ctx, l.dt_proj, dt_low, dt);
  observe(ctx, l.dt_proj_output, dt);

  // y = SSM(A, B, C, D, softplus(dt + bias))(u) * silu(z) [T, E]
  const Activation y = f32_activation(ctx.arena.take<float>(T * E), T, E);
  const ScanParams params{.a2 = l.a2.as<float>().data(),
                          .D = l.D.as<float>().data(),
                          .dt_bias = l.dt_bias.as<float>().data(),
                          .states = config_.d_state};
  for_each_sequence(batch, [&](SequenceState& state, std::int64_t begin, std::int64_t end) {
    const ScanInputs in{.u = scan_u.row_range(begin, end),
                        .dt = dt.row_range(begin, end),
                        .B = B.row_range(begin, end),
                        .C = C.row_range(begin, end),
                        .z = z.row_range(begin, end)};
    const Activation h = state_of(l, state);
    selective_scan(ctx, params, in, {h.data, h.dtype, h.scale}, y.row_range(begin, end));
    observe(ctx, l.ssm_state, h);
  });

  Activation gated = y;  // in out_proj's numerics, rotated where its weights are
  if (l.out_proj_input.is_int8()) gated = take_site(ctx, l.out_proj_input, T);
  if (const std::int64_t block = l.out_proj_input.numerics.hadamard_block) {
    hadamard(ctx, y, block, gated);
  } else {
    quantize(ctx, y, gated);
  }
  observe(ctx, l.out_proj_input, gated);
  linear(ctx, l.out_proj, gated, f32_activation(out, T, D));
}

void Mamba1::head(Context& ctx, const Batch& batch, LogitRows rows, float* residual,
                  const float* add, float* logits) const {
  const std::int64_t D = config_.d_model;
  auto T = static_cast<std::int64_t>(batch.ids.size());
  if (rows == LogitRows::none && !ctx.tap) return;
  if (rows == LogitRows::last) {  // only these rows are normed and multiplied
    const auto sequences = static_cast<std::int64_t>(batch.states.size());
    float* last_residual = ctx.arena.take<float>(sequences * D);
    float* last_add = ctx.arena.take<float>(sequences * D);
    for (std::int64_t i = 0; i < sequences; ++i) {
      const std::int64_t t = batch.cu_seqlens[static_cast<std::size_t>(i) + 1] - 1;
      std::copy_n(residual + t * D, D, last_residual + i * D);
      std::copy_n(add + t * D, D, last_add + i * D);
    }
    residual = last_residual;
    add = last_add;
    T = sequences;
  }
  const Activation hidden = take_site(ctx, head_input_, T);
  add_rms_norm(ctx, residual, add, norm_f_.as<float>().data(), config_.norm_eps, hidden);
  observe(ctx, head_input_, hidden);
  if (rows == LogitRows::none) return;
  linear(ctx, lm_head_, hidden, f32_activation(logits, T, config_.vocab_rows));
}

/// h [N, E]
Activation Mamba1::state_of(const Layer& layer, SequenceState& state) const {
  const StateBuffer& buffer = state.layout().buffers[layer.ssm_buffer];
  const bool int8 = buffer.dtype == DType::i8;
  return {.data = state.buffer(layer.ssm_buffer),
          .dtype = buffer.dtype,
          .rows = config_.d_state,
          .cols = config_.d_inner,
          .stride = config_.d_inner,
          .strategy = Strategy::channel,
          .scale = int8 ? static_scale(layer.ssm_state) : nullptr};
}

// ---- loading ------------------------------------------------------------------------------------

Mamba1::Mamba1(Context& ctx, const Json& config, const TensorSource& tensors) {
  layout_ = describe_mamba1(config, tensors);
  config_ = read_mamba1_config(config, tensors);
  numerics_ = parse_numerics(config, layout_);
  check_finite(ctx, tensors);
  auto state = std::make_shared<StateLayout>();
  state->fingerprint = model_fingerprint(config, info(), tensors);

  const LinearSite& head = layout_.linears.back();
  const bool tied = !head.tied_to.empty();
  embeddings_ = load_weight(ctx, tensors, layout_.linears.front(), tied);
  for (int i = 0; i < config_.layers; ++i) layers_.push_back(load_layer(ctx, tensors, i, *state));
  norm_f_ = load_param(tensors, layout_.params.back());
  lm_head_ = tied ? embeddings_ : load_weight(ctx, tensors, head, true);
  head_input_ = load_site(tensors, layout_, head.input_site, numerics_);
  require_int8_input(lm_head_, head, head_input_);
  state_layout_ = std::move(state);
  weight_bytes_ = count_read_bytes();
}

Layer Mamba1::load_layer(Context& ctx, const TensorSource& tensors, int index,
                         StateLayout& state) const {
  Layer l;
  const auto site = [&](Mamba1Site which) {
    const int first = index * static_cast<int>(Mamba1Site::count);
    return load_site(tensors, layout_, first + static_cast<int>(which), numerics_);
  };
  l.in_proj_input = site(Mamba1Site::in_proj_input);
  l.conv_input = site(Mamba1Site::conv1d_input);
  l.z = site(Mamba1Site::z);
  l.x_proj_input = site(Mamba1Site::x_proj_input);
  l.dt_proj_input = site(Mamba1Site::dt_proj_input);
  l.B = site(Mamba1Site::B);
  l.C = site(Mamba1Site::C);
  l.dt_proj_output = site(Mamba1Site::dt_proj_output);
  l.ssm_state = site(Mamba1Site::ssm_state);
  l.out_proj_input = site(Mamba1Site::out_proj_input);
  l.xz_scale = joint_scale(std::array{&l.conv_input, &l.z});
  l.dt_B_C_scale = joint_scale(std::array{&l.dt_proj_input, &l.B, &l.C});

  const auto weight = [&](std::string_view role, const Site& input) {
    const LinearSite& described = find_site(layout_.linears, role, index);
    Weight result = load_weight(ctx, tensors, described, true);
    require_int8_input(result, described, input);
    return result;
  };
  l.in_proj = weight("in_proj", l.in_proj_input);
  l.x_proj = weight("x_proj", l.x_proj_input);
  l.dt_proj = weight("dt_proj", l.dt_proj_input);
  l.out_proj = weight("out_proj", l.out_proj_input);

  const auto param = [&](std::string_view role) -> const ParamSite& {
    return find_site(layout_.params, role, index);
  };
  l.norm = load_param(tensors, param("norm"));
  l.conv =
      load_conv(tensors, param("conv1d.weight"),
                config_.conv_bias ? &param("conv1d.bias") : nullptr, l.conv_input.has_one_scale());
  l.dt_bias = load_param(tensors, param("dt_proj.bias"));
  l.a2 = make_a2(load_param(tensors, param("A_log")));
  l.D = load_param(tensors, param("D"));

  const DType conv_dtype = l.conv_input.has_one_scale() ? DType::i8 : DType::f32;
  const bool half_state = l.ssm_state.numerics.quantized && l.ssm_state.numerics.args.is_float;
  const DType ssm_dtype = l.ssm_state.is_int8() ? DType::i8 : half_state ? DType::f16 : DType::f32;
  const std::int64_t K = config_.d_conv, E = config_.d_inner, N = config_.d_state;
  l.conv_buffer = state.add("conv_state", index, conv_dtype, {K - 1, E});
  l.ssm_buffer = state.add("ssm_state", index, ssm_dtype, {N, E});
  return l;
}

std::size_t Mamba1::count_read_bytes() const {
  std::size_t bytes = norm_f_.bytes() + read_bytes(lm_head_);
  for (const Layer& l : layers_) {
    for (const Weight* weight : {&l.in_proj, &l.x_proj, &l.dt_proj, &l.out_proj}) {
      bytes += read_bytes(*weight);
    }
    for (const Tensor* tensor :
         {&l.norm, &l.conv.data, &l.conv.scale, &l.conv.bias, &l.dt_bias, &l.a2, &l.D}) {
      if (!tensor->empty()) bytes += tensor->bytes();
    }
  }
  return bytes;
}

}  // namespace

std::unique_ptr<Model> load_mamba1(Context& ctx, const Json& config, const TensorSource& tensors) {
  return std::make_unique<Mamba1>(ctx, config, tensors);
}

}  // namespace krait
