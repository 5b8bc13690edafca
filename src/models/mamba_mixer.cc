#include "models/mamba_mixer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "core/check.h"
#include "kernels/linear/linear.h"
#include "kernels/quantize/quantize.h"
#include "kernels/selective_scan/selective_scan.h"
#include "models/activations.h"
#include "models/describe.h"

namespace krait {
namespace {

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

/// h [N, E]
Activation state_of(const MambaMixer& mixer, SequenceState& state) {
  const StateBuffer& buffer = state.layout().buffers[mixer.ssm_buffer];
  const bool int8 = buffer.dtype == DType::i8;
  return {.data = state.buffer(mixer.ssm_buffer),
          .dtype = buffer.dtype,
          .rows = mixer.shape.d_state,
          .cols = mixer.shape.d_inner,
          .stride = mixer.shape.d_inner,
          .strategy = Strategy::channel,
          .scale = int8 ? static_scale(mixer.ssm_state) : nullptr};
}

/// dt, B and C [T, R | N | N] = u W_x^T, each through its norm and in its site's numerics.
void normed_dt_B_C(Context& ctx, const MambaMixer& l, const Activation& u, Activation (&out)[3]) {
  const std::int64_t T = u.rows, cols = l.x_proj.rows();
  const Activation whole = f32_activation(ctx.arena.take<float>(T * cols), T, cols);
  linear(ctx, l.x_proj, u, whole);
  const Site* sites[] = {&l.dt_proj_input, &l.B, &l.C};
  std::int64_t begin = 0;
  for (int i = 0; i < 3; ++i) {
    const std::int64_t width = sites[i]->channels;
    float* part = ctx.arena.take<float>(T * width);
    for (std::int64_t t = 0; t < T; ++t) std::copy_n(whole.f32(t) + begin, width, part + t * width);
    begin += width;
    out[i] = take_site(ctx, *sites[i], T);
    add_norm(ctx, part, nullptr, l.inner_norms[i], out[i]);
    observe(ctx, *sites[i], out[i]);
  }
}

}  // namespace

// ---- forward ------------------------------------------------------------------------------------
// T tokens of all sequences together. Projections run over all T, convolution and scan over each
// sequence.

void run_mamba_mixer(Context& ctx, const MambaMixer& l, const Batch& batch,
                     const Activation& hidden, float* out) {
  const std::int64_t T = hidden.rows, D = l.shape.d_model, E = l.shape.d_inner;

  Activation xz[2];  // x, z [T, E] = hidden W_in^T
  split_linear(ctx, l.in_proj, hidden, std::array{&l.conv_input, &l.z}, l.xz_scale, xz);
  const Activation &x = xz[0], &z = xz[1];

  // u = silu(conv(x)) [T, E]. The product reads it in its site's numerics, and so does the scan,
  // unless the scales are per token: those are for the product alone, the scan then reads f32.
  const bool conv_quantizes = l.x_proj_input.is_static_int8();
  const Activation conv_u = conv_quantizes ? take_site(ctx, l.x_proj_input, T)
                                           : f32_activation(ctx.arena.take<float>(T * E), T, E);
  for_each_sequence(ctx, batch,
                    [&](Context& own, SequenceState& state, std::int64_t begin, std::int64_t end) {
                      causal_conv1d(own, l.conv, x.row_range(begin, end),
                                    state.buffer(l.conv_buffer), conv_u.row_range(begin, end));
                    });
  Activation u = conv_u;
  if (l.x_proj_input.is_int8() && !conv_quantizes) {
    u = take_site(ctx, l.x_proj_input, T);
    quantize(ctx, conv_u, u);
  }
  observe(ctx, l.x_proj_input, u);
  const Activation& scan_u = u.strategy == Strategy::token ? conv_u : u;

  Activation dt_B_C[3];  // dt [T, R], B [T, N], C [T, N] = u W_x^T
  if (l.shape.inner_norm_eps > 0) {
    normed_dt_B_C(ctx, l, u, dt_B_C);
  } else {
    split_linear(ctx, l.x_proj, u, std::array{&l.dt_proj_input, &l.B, &l.C}, l.dt_B_C_scale,
                 dt_B_C);
  }
  const Activation &dt_low = dt_B_C[0], &B = dt_B_C[1], &C = dt_B_C[2];

  const Activation dt = take_site(ctx, l.dt_proj_output, T);  // [T, E] = dt_low W_dt^T
  linear(ctx, l.dt_proj, dt_low, dt);
  observe(ctx, l.dt_proj_output, dt);

  // y = SSM(A, B, C, D, softplus(dt + bias))(u) * silu(z) [T, E]
  const Activation y = f32_activation(ctx.arena.take<float>(T * E), T, E);
  const ScanParams params{.a2 = l.a2.as<float>().data(),
                          .D = l.D.as<float>().data(),
                          .dt_bias = l.dt_bias.as<float>().data(),
                          .states = l.shape.d_state};
  for_each_sequence(
      ctx, batch, [&](Context& own, SequenceState& state, std::int64_t begin, std::int64_t end) {
        const ScanInputs in{.u = scan_u.row_range(begin, end),
                            .dt = dt.row_range(begin, end),
                            .B = B.row_range(begin, end),
                            .C = C.row_range(begin, end),
                            .z = z.row_range(begin, end)};
        const Activation h = state_of(l, state);
        selective_scan(own, params, in, {h.data, h.dtype, h.scale}, y.row_range(begin, end));
        observe(own, l.ssm_state, h);
      });

  const Activation gated = to_site(ctx, l.out_proj_input, y);
  linear(ctx, l.out_proj, gated, f32_activation(out, T, D));
}

std::size_t read_bytes(const MambaMixer& m) noexcept {
  std::size_t bytes = 0;
  for (const Weight* weight : {&m.in_proj, &m.x_proj, &m.dt_proj, &m.out_proj}) {
    bytes += read_bytes(*weight);
  }
  for (const Tensor* tensor :
       {&m.conv.data, &m.conv.scale, &m.conv.bias, &m.dt_bias, &m.a2, &m.D}) {
    if (!tensor->empty()) bytes += tensor->bytes();
  }
  for (const Norm& norm : m.inner_norms) {
    if (!norm.weight.empty()) bytes += read_bytes(norm);
  }
  return bytes;
}

// ---- loading ------------------------------------------------------------------------------------

void describe_mamba_mixer(const MambaMixerShape& shape, const std::string& prefix,
                          std::string_view norm, int layer, ModelLayout& layout) {
  const auto [D, E, N, K, R, conv_bias, in_bias, out_bias, inner_norm_eps, bias_key] = shape;
  const SiteWriter to{layout, prefix, layer};
  const int in_proj = to.normed(to.rotatable("in_proj.input", D), norm);
  to.activation("conv1d.input", E);
  to.activation("z", E);
  const int x_proj = to.activation("x_proj.input", E);
  const int dt_proj = to.activation("dt_proj.input", R);
  for (const char* role : {"B", "C"}) to.grouped(to.activation(role, N), 1);
  to.activation("dt_proj.output", E);
  to.grouped(to.state("ssm_state", E), 1);
  const int out_proj = to.rotatable("out_proj.input", E);

  to.linear("in_proj", 2 * E, D, in_proj, in_bias);
  layout.linears.back().bias_key = bias_key;
  to.linear("x_proj", R + 2 * N, E, x_proj);
  to.linear("dt_proj", E, R, dt_proj);
  to.residual_linear("out_proj", D, E, out_proj, out_bias);
  layout.linears.back().bias_key = bias_key;

  to.param("conv1d.weight", {E, 1, K});
  if (conv_bias) to.param("conv1d.bias", {E});
  to.param("dt_proj.bias", {E});
  to.param("A_log", {E, N});
  to.param("D", {E});
  if (inner_norm_eps > 0) {
    to.normed(dt_proj, prefix + "dt_layernorm");
    to.norm("dt_layernorm.weight", "norm", R);
    to.norm("b_layernorm.weight", "norm", N);
    to.norm("c_layernorm.weight", "norm", N);
  }
}

void MambaMixerVote::add(const TensorCheck& tensors, const std::string& prefix) {
  const auto find = [&](const char* name) { return tensors.find(prefix + name); };
  const TensorInfo *in_proj = find("in_proj.weight"), *conv = find("conv1d.weight"),
                   *x_proj = find("x_proj.weight"), *dt_proj = find("dt_proj.weight"),
                   *A_log = find("A_log"), *out_proj = find("out_proj.weight");
  d_model.add(in_proj, 2, 1);
  d_model.add(out_proj, 2, 0);
  d_inner.add(in_proj, 2, 0, 2);
  d_inner.add(conv, 3, 0);
  d_inner.add(x_proj, 2, 1);
  d_inner.add(dt_proj, 2, 0);
  d_inner.add(A_log, 2, 0);
  d_inner.add(find("D"), 1, 0);
  d_inner.add(out_proj, 2, 1);
  d_state.add(A_log, 2, 1);
  d_conv.add(conv, 3, 2);
  dt_rank.add(dt_proj, 2, 1);
  if (x_proj && x_proj->shape.rank() == 2) {  // rows = R + 2 N
    if (A_log && A_log->shape.rank() == 2) dt_rank.add(x_proj->shape[0] - 2 * A_log->shape[1]);
    if (dt_proj && dt_proj->shape.rank() == 2)
      d_state.add((x_proj->shape[0] - dt_proj->shape[1]) / 2);
  }
  conv_bias |= find("conv1d.bias") != nullptr;
  in_proj_bias |= find("in_proj.bias") != nullptr;
  out_proj_bias |= find("out_proj.bias") != nullptr;
}

MambaMixerShape MambaMixerVote::result(const MambaMixerShape& from_config) const {
  MambaMixerShape m = from_config;
  m.d_model = d_model.result(m.d_model, "d_model");
  m.d_inner = d_inner.result(m.d_inner, "d_inner");
  m.d_state = d_state.result(m.d_state, "d_state");
  m.d_conv = d_conv.result(m.d_conv, "d_conv");
  check(m.d_conv <= 16, ErrorCode::unsupported,
        "convolutions over {} tokens are not supported, at most 16 are", m.d_conv);
  m.dt_rank = dt_rank.result(m.dt_rank, "dt_rank");
  m.conv_bias |= conv_bias;
  m.in_proj_bias |= in_proj_bias;
  m.out_proj_bias |= out_proj_bias;
  return m;
}

MambaMixer load_mamba_mixer(Context& ctx, const TensorSource& tensors, const ModelLayout& layout,
                            const std::map<std::string, ActivationNumerics>& numerics,
                            const MambaMixerShape& shape, int layer, StateLayout& state) {
  MambaMixer l;
  l.shape = shape;
  const auto site = [&](std::string_view role) {
    return load_site(tensors, layout, role, layer, numerics);
  };
  l.in_proj_input = site("in_proj.input");
  l.conv_input = site("conv1d.input");
  l.z = site("z");
  l.x_proj_input = site("x_proj.input");
  l.dt_proj_input = site("dt_proj.input");
  l.B = site("B");
  l.C = site("C");
  l.dt_proj_output = site("dt_proj.output");
  l.ssm_state = site("ssm_state");
  l.out_proj_input = site("out_proj.input");
  l.xz_scale = joint_scale(std::array{&l.conv_input, &l.z});
  l.dt_B_C_scale = joint_scale(std::array{&l.dt_proj_input, &l.B, &l.C});

  const auto weight = [&](std::string_view role, const Site& input) {
    const LinearSite& described = find_site(layout.linears, role, layer);
    Weight result = load_weight(ctx, tensors, described, true);
    check_input(result, described, input);
    return result;
  };
  l.in_proj = weight("in_proj", l.in_proj_input);
  l.x_proj = weight("x_proj", l.x_proj_input);
  l.dt_proj = weight("dt_proj", l.dt_proj_input);
  l.out_proj = weight("out_proj", l.out_proj_input);

  const auto param = [&](std::string_view role) -> const ParamSite& {
    return find_site(layout.params, role, layer);
  };
  l.conv =
      load_conv(tensors, param("conv1d.weight"), shape.conv_bias ? &param("conv1d.bias") : nullptr,
                l.conv_input.has_one_scale());
  l.dt_bias = load_param(tensors, param("dt_proj.bias"));
  l.a2 = make_a2(load_param(tensors, param("A_log")));
  l.D = load_param(tensors, param("D"));

  if (shape.inner_norm_eps > 0) {
    std::string prefix = param("A_log").name;
    prefix.resize(prefix.size() - std::string_view("A_log").size());
    const char* const names[] = {"dt_layernorm", "b_layernorm", "c_layernorm"};
    for (int i = 0; i < 3; ++i) {
      l.inner_norms[i] = load_norm(tensors, prefix + names[i], shape.inner_norm_eps);
    }
  }

  const DType conv_dtype = l.conv_input.has_one_scale() ? DType::i8 : DType::f32;
  const bool half_state = l.ssm_state.numerics.quantized && l.ssm_state.numerics.args.is_float;
  const DType ssm_dtype = l.ssm_state.is_int8() ? DType::i8 : half_state ? DType::f16 : DType::f32;
  const std::int64_t K = shape.d_conv, E = shape.d_inner, N = shape.d_state;
  l.conv_buffer = state.add("conv_state", layer, conv_dtype, {K - 1, E});
  l.ssm_buffer = state.add("ssm_state", layer, ssm_dtype, {N, E});
  return l;
}

}  // namespace krait
