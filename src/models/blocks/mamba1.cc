#include "models/blocks/mamba1.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "kernels/linear/linear.h"
#include "kernels/quantize/quantize.h"
#include "kernels/rows/rows.h"
#include "kernels/selective_scan/selective_scan.h"
#include "models/activations.h"

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

/// Shows h [N, E] to the tap.
void observe_state(Context& ctx, const Mamba1& m, const ScanParams& params, void* state) {
  observe(ctx, m.ssm_state,
          {.data = state,
           .dtype = params.state_dtype,
           .rows = m.spec.d_state,
           .cols = m.spec.d_inner,
           .stride = m.spec.d_inner,
           .strategy = Strategy::channel,
           .scale = const_cast<float*>(params.state_scale)});
}

/// dt, B and C [T, R | N | N] = u W_x^T, each through its norm and in its site's numerics.
void normed_dt_B_C(Context& ctx, const Mamba1& m, const Activation& u, Activation (&out)[3]) {
  const std::int64_t T = u.rows, cols = m.x_proj.rows();
  const Activation whole = f32_activation(ctx.arena.take<float>(T * cols), T, cols);
  linear(ctx, m.x_proj, u, whole);
  const Site* sites[] = {&m.dt_proj_input, &m.B, &m.C};
  std::int64_t begin = 0;
  for (int i = 0; i < 3; ++i) {
    const std::int64_t width = sites[i]->channels;
    float* part = ctx.arena.take<float>(T * width);
    copy_rows(ctx, whole.columns(begin, begin + width), f32_activation(part, T, width));
    begin += width;
    out[i] = take_site(ctx, *sites[i], T);
    add_norm(ctx, part, nullptr, m.inner_norms[i], out[i]);
    observe(ctx, *sites[i], out[i]);
  }
}

}  // namespace

void visit(Mamba1& m, Visitor& v) {
  const auto& [E, N, K, R, conv_bias, in_bias, out_bias, inner_eps] = m.spec;
  const std::int64_t D = v.d_model;
  const bool inner_norms = inner_eps > 0;
  v.site(m.input, {.role = "in_proj.input", .channels = D, .rotatable = true, .norm = v.norm_name});
  v.site(m.conv_input, {.role = "conv1d.input", .channels = E});
  v.site(m.z, {.role = "z", .channels = E});
  v.site(m.x_proj_input, {.role = "x_proj.input", .channels = E});
  v.site(m.dt_proj_input, {.role = "dt_proj.input",
                           .channels = R,
                           .norm = inner_norms ? v.prefix + "dt_layernorm" : ""});
  v.site(m.B, {.role = "B", .channels = N, .groups = 1});
  v.site(m.C, {.role = "C", .channels = N, .groups = 1});
  v.site(m.dt_proj_output, {.role = "dt_proj.output", .channels = E});
  v.site(m.ssm_state, {.role = "ssm_state", .channels = E, .is_state = true, .groups = 1});
  v.site(m.out_proj_input, {.role = "out_proj.input", .channels = E, .rotatable = true});

  v.product(m.in_proj, {.role = "in_proj", .rows = 2 * E, .cols = D, .has_bias = in_bias}, m.input);
  v.product(m.x_proj, {.role = "x_proj", .rows = R + 2 * N, .cols = E}, m.x_proj_input);
  v.product(m.dt_proj, {.role = "dt_proj", .rows = E, .cols = R}, m.dt_proj_input);
  v.product(
      m.out_proj,
      {.role = "out_proj", .rows = D, .cols = E, .has_bias = out_bias, .adds_to_residual = true},
      m.out_proj_input);

  v.convolution(std::array{&m.conv}, std::array<const Site*, 1>{&m.conv_input}, K, conv_bias);
  v.param(m.dt_bias, {.role = "dt_proj.bias", .shape = {E}, .init = Init::dt_bias});
  v.param(m.a2, {.role = "A_log", .shape = {E, N}, .init = Init::log_n});
  v.param(m.D, {.role = "D", .shape = {E}});
  if (!inner_norms) return;
  v.norm(m.inner_norms[0], {"dt_layernorm", inner_eps}, R);
  v.norm(m.inner_norms[1], {"b_layernorm", inner_eps}, N);
  v.norm(m.inner_norms[2], {"c_layernorm", inner_eps}, N);
}

void prepare(Mamba1& m) {
  m.a2 = make_a2(m.a2);
  m.xz_scale = joint_scale(std::array{&m.conv_input, &m.z});
  m.dt_B_C_scale = joint_scale(std::array{&m.dt_proj_input, &m.B, &m.C});
}

void add_state(Mamba1& m, int layer, StateLayout& state) {
  const DType conv = m.conv_input.has_one_scale() ? DType::i8 : DType::f32;
  m.conv_buffer = state.add("conv_state", layer, conv, {m.spec.d_conv - 1, m.spec.d_inner});
  m.ssm_buffer =
      state.add("ssm_state", layer, m.ssm_state.state_dtype(), {m.spec.d_state, m.spec.d_inner});
}

// ---- forward ------------------------------------------------------------------------------------
// T tokens of all sequences together. Projections run over all T, convolution and scan over each
// sequence.

void run(Context& ctx, const Mamba1& m, const Pass& pass, const Activation& hidden, float* out) {
  const std::int64_t T = hidden.rows, E = m.spec.d_inner;

  Activation xz[2];  // x, z [T, E] = hidden W_in^T
  split_linear(ctx, m.in_proj, hidden, std::array{&m.conv_input, &m.z}, m.xz_scale, xz);
  const Activation &x = xz[0], &z = xz[1];

  // u = silu(conv(x)) [T, E]. The product reads it in its site's numerics, and so does the scan,
  // unless the scales are per token: those are for the product alone, the scan then reads f32.
  const bool conv_quantizes = m.x_proj_input.is_static_int8();
  const Activation conv_u = conv_quantizes ? take_site(ctx, m.x_proj_input, T)
                                           : f32_activation(ctx.arena.take<float>(T * E), T, E);
  causal_conv1d(ctx, m.conv, x,
                runs_of(pass, [&](SequenceState& state) { return state.buffer(m.conv_buffer); }),
                conv_u);
  Activation u = conv_u;
  if (m.x_proj_input.is_int8() && !conv_quantizes) {
    u = take_site(ctx, m.x_proj_input, T);
    quantize(ctx, conv_u, u);
  }
  observe(ctx, m.x_proj_input, u);
  const Activation& scan_u = u.strategy == Strategy::token ? conv_u : u;

  Activation dt_B_C[3];  // dt [T, R], B [T, N], C [T, N] = u W_x^T
  if (m.spec.inner_norm_eps > 0) {
    normed_dt_B_C(ctx, m, u, dt_B_C);
  } else {
    split_linear(ctx, m.x_proj, u, std::array{&m.dt_proj_input, &m.B, &m.C}, m.dt_B_C_scale,
                 dt_B_C);
  }
  const Activation &dt_low = dt_B_C[0], &B = dt_B_C[1], &C = dt_B_C[2];

  const Activation dt = take_site(ctx, m.dt_proj_output, T);  // [T, E] = dt_low W_dt^T
  linear(ctx, m.dt_proj, dt_low, dt);
  observe(ctx, m.dt_proj_output, dt);

  // y = SSM(A, B, C, D, softplus(dt + bias))(u) * silu(z) [T, E]
  const Activation y = f32_activation(ctx.arena.take<float>(T * E), T, E);
  const DType dtype = m.ssm_state.state_dtype();
  const ScanParams params{.a2 = m.a2.as<float>().data(),
                          .D = m.D.as<float>().data(),
                          .dt_bias = m.dt_bias.as<float>().data(),
                          .states = m.spec.d_state,
                          .state_dtype = dtype,
                          .state_scale = dtype == DType::i8 ? static_scale(m.ssm_state) : nullptr};
  const auto h = runs_of(pass, [&](SequenceState& state) { return state.buffer(m.ssm_buffer); });
  selective_scan(ctx, params, {.u = scan_u, .dt = dt, .B = B, .C = C, .z = z}, h, y);
  if (ctx.tap) {
    for (const auto& sequence : h) observe_state(ctx, m, params, sequence.state);
  }

  const Activation gated = to_site(ctx, m.out_proj_input, y);
  linear(ctx, m.out_proj, gated, f32_activation(out, T, m.out_proj.rows()));
}

}  // namespace krait
