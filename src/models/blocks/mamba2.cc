#include "models/blocks/mamba2.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numbers>

#include "core/check.h"
#include "kernels/causal_conv1d/causal_conv1d.h"
#include "kernels/gated_norm/gated_norm.h"
#include "kernels/hadamard/hadamard.h"
#include "kernels/linear/linear.h"
#include "kernels/rows/rows.h"
#include "kernels/ssd/ssd.h"
#include "models/activations.h"

namespace krait {
namespace {

/// A = -exp(A_log), times log2(e) as the recurrence raises 2 to powers. Computed in double
/// precision and rounded once.
Tensor make_a2(const Tensor& A_log) {
  Tensor a2(DType::f32, A_log.shape());
  for (std::size_t h = 0; h < a2.as<float>().size(); ++h) {
    const double a = -std::exp(static_cast<double>(A_log.as<float>()[h]));
    a2.mutable_as<float>()[h] = static_cast<float>(a * std::numbers::log2e);
  }
  return a2;
}

/// D [H] or [E] as [E].
Tensor per_channel(const Tensor& D, std::int64_t channels) {
  Tensor result(DType::f32, {channels});
  const std::int64_t each = channels / D.elements();
  for (std::int64_t c = 0; c < channels; ++c) {
    result.mutable_as<float>()[static_cast<std::size_t>(c)] =
        D.as<float>()[static_cast<std::size_t>(c / each)];
  }
  return result;
}

/// Lays out scales [groups, N] as the kernel reads them. Heads whose channels are in the same
/// groups share a table.
Mamba2::StateScales load_state_scales(const Site& site, std::int64_t heads) {
  const std::int64_t P = site.channels / heads, N = site.scale.shape()[1];
  Mamba2::StateScales result;
  std::map<std::vector<std::int32_t>, std::int32_t> tables;  // of groups, one for each column
  for (std::int64_t h = 0; h < heads; ++h) {
    std::vector<std::int32_t> columns;
    for (const std::int32_t group : site.group.as<std::int32_t>().subspan(
             static_cast<std::size_t>(h * P), static_cast<std::size_t>(P))) {
      const auto column = std::find(columns.begin(), columns.end(), group);
      result.slot.push_back(static_cast<std::int8_t>(column - columns.begin()));
      if (column == columns.end()) columns.push_back(group);
      check(std::ssize(columns) <= kSsdClusters, ErrorCode::unsupported,
            "{}_group: the channels of head {} are in more than {} groups", site.name, h,
            kSsdClusters);
    }
    const auto next = static_cast<std::int32_t>(tables.size());
    result.table.push_back(tables.try_emplace(std::move(columns), next).first->second);
  }
  const Shape shape = {static_cast<std::int64_t>(tables.size()), N, kSsdClusters};
  result.scale = Tensor(DType::f32, shape);
  result.inverse = Tensor(DType::f32, shape);
  std::ranges::fill(result.scale.mutable_as<float>(), 1.0f);
  for (const auto& [columns, table] : tables) {
    for (std::size_t i = 0; i < columns.size(); ++i) {
      for (std::int64_t n = 0; n < N; ++n) {
        result.scale
            .mutable_as<float>()[static_cast<std::size_t>((table * N + n) * kSsdClusters) + i] =
            site.scale.as<float>()[static_cast<std::size_t>(columns[i] * N + n)];
      }
    }
  }
  std::ranges::transform(result.scale.as<float>(), result.inverse.mutable_as<float>().begin(),
                         [](float scale) { return 1.0f / scale; });
  return result;
}

/// What moves when heads and channels change places: all that x, z and dt index.
HeadOrder order_of_heads(const Mamba2Spec& s, const Visitor& v) {
  const std::int64_t E = s.d_inner();
  HeadOrder order{"x", "ssm_state", v.layer, s.heads, s.head_dim, s.groups, {}};
  const auto channels = [&](const char* name, int dim, std::int64_t begin) {
    order.ranges.push_back({v.prefix + name, dim, begin, false});
  };
  const auto heads = [&](const char* name, std::int64_t begin) {
    order.ranges.push_back({v.prefix + name, 0, begin, true});
  };
  std::vector<const char*> projections = {"in_proj.weight"};
  if (s.in_proj_bias) projections.push_back("in_proj.bias");
  for (const char* name : projections) {
    channels(name, 0, 0);                         // z
    channels(name, 0, E);                         // x
    heads(name, 2 * E + 2 * s.group_channels());  // dt
  }
  channels("conv1d.weight", 0, 0);
  if (s.conv_bias) channels("conv1d.bias", 0, 0);
  for (const char* name : {"dt_bias", "A_log"}) heads(name, 0);
  if (s.D_per_channel) {
    channels("D", 0, 0);
  } else {
    heads("D", 0);
  }
  channels("norm.weight", 0, 0);
  channels("out_proj.weight", 1, 0);
  return order;
}

}  // namespace

void visit(Mamba2& m, Visitor& v) {
  const Mamba2Spec& s = m.spec;
  const std::int64_t D = v.d_model, E = s.d_inner(), H = s.heads, G = s.groups, N = s.d_state;
  const std::int64_t GN = s.group_channels();
  auto& [x, B, C] = m.xBC;
  v.site(m.input, {.role = "in_proj.input", .channels = D, .rotatable = true, .norm = v.norm_name});
  v.site(m.z, {.role = "z", .channels = E});
  v.site(x.input, {.role = "conv1d.x", .channels = E});
  v.site(B.input, {.role = "conv1d.B", .channels = GN});
  v.site(C.input, {.role = "conv1d.C", .channels = GN});
  v.site(m.dt, {.role = "dt", .channels = H});
  v.site(x.output, {.role = "x", .channels = E, .groups = G});
  v.site(B.output, {.role = "B", .channels = GN, .rotatable = true, .groups = G});
  v.site(C.output, {.role = "C", .channels = GN, .rotatable = true, .groups = G});
  v.site(m.ssm_state,
         {.role = "ssm_state", .channels = E, .is_state = true, .groups = G, .states = N});
  v.site(m.out_proj_input,
         {.role = "out_proj.input", .channels = E, .rotatable = true, .norm = v.prefix + "norm"});

  v.product(m.in_proj,
            {.role = "in_proj",
             .rows = 2 * E + 2 * GN + H,
             .cols = D,
             .has_bias = s.in_proj_bias,
             .parts = {E, E, GN, GN, H}},
            m.input);
  v.product(m.out_proj,
            {.role = "out_proj",
             .rows = D,
             .cols = E,
             .has_bias = s.out_proj_bias,
             .adds_to_residual = true},
            m.out_proj_input);

  v.convolution(std::array{&x.weight, &B.weight, &C.weight},
                std::array<const Site*, 3>{&x.input, &B.input, &C.input}, s.d_conv, s.conv_bias);
  v.param(m.dt_bias, {.role = "dt_bias", .shape = {H}, .init = Init::dt_bias});
  v.param(m.a2, {.role = "A_log", .shape = {H}, .init = Init::log_16});
  v.param(m.D, {.role = "D", .shape = {s.D_per_channel ? E : H}});
  v.norm(m.norm, {"norm", s.norm_eps}, E, "gated_norm");
  v.head_order(order_of_heads(s, v));
}

void prepare(Mamba2& m) {
  m.a2 = make_a2(m.a2);
  m.D = per_channel(m.D, m.spec.d_inner());
  m.in_proj_scale =
      joint_scale(std::array{&m.z, &m.xBC[0].input, &m.xBC[1].input, &m.xBC[2].input, &m.dt});
  if (!m.ssm_state.group.empty()) m.state_scales = load_state_scales(m.ssm_state, m.spec.heads);
}

void add_state(Mamba2& m, int layer, StateLayout& state) {
  const Mamba2Spec& s = m.spec;
  for (std::size_t k = 0; k < 3; ++k) {
    const DType dtype = m.xBC[k].input.has_one_scale() ? DType::i8 : DType::f32;
    m.xBC[k].buffer = state.add(std::string("conv_state_") + "xBC" [k], layer, dtype,
                                { s.d_conv - 1, m.xBC[k].input.channels });
  }
  const DType ssm_dtype = m.ssm_state.state_dtype();
  // Where tokens are taken in chunks every token reads all of the state, with half a chunk of what
  // is recent, and adds to the latter; the last of a chunk reads and writes all.
  constexpr double kEnds = 1.0 / kSsdChunk;
  const bool by_row = m.ssm_state.is_int8() && m.ssm_state.numerics.args.dynamic;
  m.has_chunks = by_row || ssm_dtype == DType::f32;
  const double passes = m.has_chunks ? 1 + 2 * kEnds : 2, recent_passes = 0.5 + 3 * kEnds;
  m.ssm_buffer = state.add("ssm_state", layer, ssm_dtype, {s.heads, s.d_state, s.head_dim}, passes);
  const auto add = [&](const char* name, const Shape& shape, double times) {
    const std::size_t index = state.add(name, layer, DType::f32, shape, times);
    if (!by_row) state.buffers[index].since = 3;
    return index;
  };
  if (by_row) m.row_scale_buffer = add("ssm_state_scale", {s.heads, s.head_dim}, passes);
  if (!m.has_chunks) return;
  m.recent_dx_buffer = add("ssm_recent_dx", {s.heads, kSsdChunk - 1, s.head_dim}, recent_passes);
  m.recent_B_buffer = add("ssm_recent_B", {s.groups, s.d_state, kSsdChunk}, recent_passes);
  m.recent_decay_buffer = add("ssm_recent_decay", {s.heads, kSsdChunk}, 2);
}

// ---- forward ------------------------------------------------------------------------------------
// T tokens of all sequences together. Projections and norms run over all T, convolution and
// recurrence over each sequence.

namespace {

/// silu(conv(in)) [T, channels] in the numerics of the output's site.
Activation convolve(Context& ctx, const Mamba2::Conv& conv, const Pass& pass,
                    const Activation& in) {
  const std::int64_t T = in.rows, channels = in.cols;
  const bool rotates = conv.output.numerics.hadamard_block > 0;
  const bool quantizes = conv.output.is_static_int8() && !rotates;
  Activation out = quantizes ? take_site(ctx, conv.output, T)
                             : f32_activation(ctx.arena.take<float>(T * channels), T, channels);
  causal_conv1d(ctx, conv.weight, in,
                runs_of(pass, [&](SequenceState& state) { return state.buffer(conv.buffer); }),
                out);
  if (!quantizes) return to_site(ctx, conv.output, out);
  observe(ctx, conv.output, out);
  return out;
}

SsdState state_of(const Mamba2& m, SequenceState& state) {
  const auto floats = [&](std::size_t i) { return static_cast<float*>(state.buffer(i)); };
  SsdState result{.data = state.buffer(m.ssm_buffer), .dtype = m.ssm_state.state_dtype()};
  if (m.has_chunks) {
    result.recent = {floats(m.recent_dx_buffer), floats(m.recent_B_buffer),
                     floats(m.recent_decay_buffer)};
  }
  if (result.dtype != DType::i8) return result;
  if (m.has_chunks) {
    result.row_scale = floats(m.row_scale_buffer);
  } else if (!m.state_scales.table.empty()) {
    const Mamba2::StateScales& scales = m.state_scales;
    result.clusters = {scales.scale.as<float>().data(), scales.inverse.as<float>().data(),
                       scales.table.data(), scales.slot.data()};
  } else {
    result.scale = static_scale(m.ssm_state);
  }
  return result;
}

/// Shows a state to the tap as f32 [N, E], the shape that Mamba-1's has, as B and C before their
/// rotation would have made it.
void observe_state(Context& ctx, const Mamba2& m, const SsdParams& params, const SsdState& state,
                   std::int64_t position) {
  const std::int64_t N = m.spec.d_state, E = m.spec.d_inner();
  const Arena::Scope scope(ctx.arena);
  const Activation rows = f32_activation(ctx.arena.take<float>(N * E), E, N);
  ssd_state_values(ctx, params, state, position, rows);
  if (const std::int64_t block = m.xBC[1].output.numerics.hadamard_block) {
    hadamard_inverse(ctx, rows, block);
  }
  const Activation wide = f32_activation(ctx.arena.take<float>(N * E), N, E);
  for (std::int64_t n = 0; n < N; ++n) {  // a row of `wide` is a column of `rows`
    copy_rows(ctx, f32_activation(static_cast<float*>(rows.data) + n, E, 1, N),
              f32_activation(static_cast<float*>(wide.data) + n * E, E, 1));
  }
  observe(ctx, m.ssm_state, wide);
}

}  // namespace

void run(Context& ctx, const Mamba2& m, const Pass& pass, const Activation& hidden, float* out) {
  const Mamba2Spec& s = m.spec;
  const std::int64_t T = hidden.rows, E = s.d_inner();
  Activation parts[5];  // z [T, E], x [T, E], B [T, GN], C [T, GN], dt [T, H] = hidden W_in^T
  split_linear(ctx, m.in_proj, hidden,
               std::array{&m.z, &m.xBC[0].input, &m.xBC[1].input, &m.xBC[2].input, &m.dt},
               m.in_proj_scale, parts);
  const Activation &z = parts[0], &dt = parts[4];
  const Activation x = convolve(ctx, m.xBC[0], pass, parts[1]);
  const Activation B = convolve(ctx, m.xBC[1], pass, parts[2]);
  const Activation C = convolve(ctx, m.xBC[2], pass, parts[3]);

  const Activation y = f32_activation(ctx.arena.take<float>(T * E), T, E);
  const SsdParams params{.heads = s.heads,
                         .head_dim = s.head_dim,
                         .groups = s.groups,
                         .states = s.d_state,
                         .a2 = m.a2.as<float>().data(),
                         .D = m.D.as<float>().data(),
                         .dt_bias = m.dt_bias.as<float>().data(),
                         .dt_min = s.dt_min,
                         .dt_max = s.dt_max};
  const auto states = runs_of(pass, [&](SequenceState& state) { return state_of(m, state); });
  ssd(ctx, params, {x, dt, B, C}, states, y);
  if (ctx.tap) {
    for (const auto& [rows, state] : states) {
      observe_state(ctx, m, params, state, rows.position + rows.tokens());
    }
  }

  // norm(y silu(z)) in out_proj's numerics, rotated where its weights are
  const std::int64_t block = m.out_proj_input.numerics.hadamard_block;
  const bool direct = block == 0 && m.out_proj_input.is_int8();
  const Activation normed = direct ? take_site(ctx, m.out_proj_input, T) : y;
  gated_rms_norm(ctx, y, z, m.norm.weight.as<float>().data(), m.norm.eps, s.groups, normed);
  Activation gated = normed;
  if (block) {
    if (m.out_proj_input.is_int8()) gated = take_site(ctx, m.out_proj_input, T);
    hadamard(ctx, normed, block, gated);
  }
  observe(ctx, m.out_proj_input, gated);
  linear(ctx, m.out_proj, gated, f32_activation(out, T, m.out_proj.rows()));
}

}  // namespace krait
