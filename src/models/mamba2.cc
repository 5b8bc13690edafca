#include "models/mamba2.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <numbers>

#include "core/check.h"
#include "kernels/causal_conv1d/causal_conv1d.h"
#include "kernels/gated_norm/gated_norm.h"
#include "kernels/hadamard/hadamard.h"
#include "kernels/quantize/quantize.h"
#include "kernels/ssd/ssd.h"
#include "models/activations.h"
#include "models/decoder.h"
#include "models/fingerprint.h"

namespace krait {
namespace {

/// One of x, B and C on its way through the convolution.
struct Conv {
  ConvWeight weight;  // its channels
  Site input, output;
  std::size_t buffer = 0;  // in the state
};

/// Static scales of an int8 state by clusters, as SsdClusterScales has them.
struct StateScales {
  Tensor scale, inverse;
  std::vector<std::int32_t> table;
  std::vector<std::int8_t> slot;
};

struct Layer {
  Norm norm;
  Weight in_proj;           // [2E + 2GN + H, D], rows z, x, B, C, dt
  std::array<Conv, 3> xBC;  // x, B, C
  Tensor dt_bias;           // [H]
  Tensor a2;                // [H] = -exp(A_log) log2(e)
  Tensor D;                 // [E]
  Norm gated_norm;
  Weight out_proj;  // [D, E]

  Site in_proj_input, z, dt, ssm_state, out_proj_input;
  Tensor in_proj_scale;  // of the columns of in_proj's output, if static
  StateScales state_scales;
  std::size_t ssm_buffer = 0;
  // Of a dynamic int8 state only.
  std::size_t row_scale_buffer = 0, recent_dx_buffer = 0, recent_B_buffer = 0,
              recent_decay_buffer = 0;
};

class Mamba2 final : public Decoder {
 public:
  Mamba2(Context& ctx, const Json& config, const TensorSource& tensors);

 private:
  const float* run_layers(Context& ctx, const Batch& batch, int begin, int end,
                          float* residual) const override;
  Layer load_layer(Context& ctx, const TensorSource& tensors, int i, StateLayout& state) const;
  void mix(Context& ctx, const Layer& layer, const Batch& batch, const Activation& hidden,
           float* out) const;
  SsdState state_of(const Layer& layer, SequenceState& state) const;
  void observe_state(Context& ctx, const Layer& layer, const SsdParams& params,
                     const SsdState& state) const;

  Mamba2Config c_;
  std::vector<Layer> layers_;
};

// ---- forward ------------------------------------------------------------------------------------
// T tokens of all sequences together. Projections and norms run over all T, convolution and
// recurrence over each sequence.

const float* Mamba2::run_layers(Context& ctx, const Batch& batch, int begin, int end,
                                float* residual) const {
  const auto T = static_cast<std::int64_t>(batch.ids.size());
  float* out = ctx.arena.take<float>(T * c_.d_model);  // [T, D], what a layer adds to it
  const float* add = nullptr;
  for (int i = begin; i < end; ++i) {
    const Layer& layer = layers_[static_cast<std::size_t>(i)];
    const Arena::Scope layer_scope(ctx.arena);
    const Activation hidden =
        norm_to_site(ctx, residual, add, layer.norm, layer.in_proj_input, T);  // [T, D]
    mix(ctx, layer, batch, hidden, out);
    add = out;
  }
  return add;
}

/// silu(conv(in)) [T, channels] in the numerics of the output's site.
Activation convolve(Context& ctx, const Conv& conv, const Batch& batch, const Activation& in) {
  const std::int64_t T = in.rows, channels = in.cols;
  // Measured scales may span all sequences: then the convolutions of all come first.
  const bool rotates = conv.output.numerics.hadamard_block > 0;
  const bool quantizes = conv.output.is_static_int8() && !rotates;
  Activation out = quantizes ? take_site(ctx, conv.output, T)
                             : f32_activation(ctx.arena.take<float>(T * channels), T, channels);
  for_each_sequence(ctx, batch,
                    [&](Context& own, SequenceState& state, std::int64_t begin, std::int64_t end) {
                      causal_conv1d(own, conv.weight, in.row_range(begin, end),
                                    state.buffer(conv.buffer), out.row_range(begin, end));
                    });
  if (!quantizes) return to_site(ctx, conv.output, out);
  observe(ctx, conv.output, out);
  return out;
}

/// out [T, D] = mixer(hidden [T, D])
void Mamba2::mix(Context& ctx, const Layer& l, const Batch& batch, const Activation& hidden,
                 float* out) const {
  const std::int64_t T = hidden.rows, E = c_.d_inner;
  Activation parts[5];  // z [T, E], x [T, E], B [T, GN], C [T, GN], dt [T, H] = hidden W_in^T
  split_linear(ctx, l.in_proj, hidden,
               std::array{&l.z, &l.xBC[0].input, &l.xBC[1].input, &l.xBC[2].input, &l.dt},
               l.in_proj_scale, parts);
  const Activation &z = parts[0], &dt = parts[4];
  const Activation x = convolve(ctx, l.xBC[0], batch, parts[1]);
  const Activation B = convolve(ctx, l.xBC[1], batch, parts[2]);
  const Activation C = convolve(ctx, l.xBC[2], batch, parts[3]);

  const Activation y = f32_activation(ctx.arena.take<float>(T * E), T, E);
  const SsdParams params{.heads = c_.heads,
                         .head_dim = c_.head_dim(),
                         .groups = c_.groups,
                         .states = c_.d_state,
                         .a2 = l.a2.as<float>().data(),
                         .D = l.D.as<float>().data(),
                         .dt_bias = l.dt_bias.as<float>().data(),
                         .dt_min = c_.dt_min,
                         .dt_max = c_.dt_max};
  for_each_sequence(
      ctx, batch, [&](Context& own, SequenceState& state, std::int64_t begin, std::int64_t end) {
        const auto rows = [&](const Activation& a) { return a.row_range(begin, end); };
        SsdState h = state_of(l, state);
        ssd(own, params, {rows(x), rows(dt), rows(B), rows(C)}, h, rows(y));
        h.position += end - begin;
        if (own.tap) observe_state(own, l, params, h);
      });

  // norm(y silu(z)) in out_proj's numerics, rotated where its weights are
  const std::int64_t block = l.out_proj_input.numerics.hadamard_block;
  const bool direct = block == 0 && l.out_proj_input.is_int8();
  const Activation normed = direct ? take_site(ctx, l.out_proj_input, T) : y;
  gated_rms_norm(ctx, y, z, l.gated_norm.weight.as<float>().data(), l.gated_norm.eps, c_.groups,
                 normed);
  Activation gated = normed;
  if (block) {
    if (l.out_proj_input.is_int8()) gated = take_site(ctx, l.out_proj_input, T);
    hadamard(ctx, normed, block, gated);
  }
  observe(ctx, l.out_proj_input, gated);
  linear(ctx, l.out_proj, gated, f32_activation(out, T, c_.d_model));
}

SsdState Mamba2::state_of(const Layer& layer, SequenceState& state) const {
  const DType dtype = state.layout().buffers[layer.ssm_buffer].dtype;
  SsdState result{
      .data = state.buffer(layer.ssm_buffer), .dtype = dtype, .position = state.position()};
  if (dtype != DType::i8) return result;
  if (layer.ssm_state.numerics.args.dynamic) {
    const auto floats = [&](std::size_t i) { return static_cast<float*>(state.buffer(i)); };
    result.row_scale = floats(layer.row_scale_buffer);
    result.recent = {floats(layer.recent_dx_buffer), floats(layer.recent_B_buffer),
                     floats(layer.recent_decay_buffer)};
  } else if (!layer.state_scales.table.empty()) {
    const StateScales& scales = layer.state_scales;
    result.clusters = {scales.scale.as<float>().data(), scales.inverse.as<float>().data(),
                       scales.table.data(), scales.slot.data()};
  } else {
    result.scale = static_scale(layer.ssm_state);
  }
  return result;
}

/// Shows a state to the tap as f32 [N, E], the shape that Mamba-1's has, as B and C before their
/// rotation would have made it.
void Mamba2::observe_state(Context& ctx, const Layer& layer, const SsdParams& params,
                           const SsdState& state) const {
  const std::int64_t N = c_.d_state, E = c_.d_inner, P = c_.head_dim();
  const Arena::Scope scope(ctx.arena);
  float* const values = ctx.arena.take<float>(N * E);
  ssd_state_values(params, state, values);
  const Activation rows = f32_activation(ctx.arena.take<float>(N * E), E, N);
  for (std::int64_t i = 0; i < N * E; ++i) {  // i = (h N + n) P + p
    const std::int64_t h = i / (N * P), n = i / P % N, p = i % P;
    static_cast<float*>(rows.data)[(h * P + p) * N + n] = values[i];
  }
  if (const std::int64_t block = layer.xBC[1].output.numerics.hadamard_block) {
    hadamard_inverse(ctx, rows, block);
  }
  const Activation wide = f32_activation(ctx.arena.take<float>(N * E), N, E);
  for (std::int64_t i = 0; i < N * E; ++i) {
    static_cast<float*>(wide.data)[i] = static_cast<const float*>(rows.data)[i % E * N + i / E];
  }
  observe(ctx, layer.ssm_state, wide);
}

// ---- loading ------------------------------------------------------------------------------------

/// The channels [begin, end) of a convolution.
ConvWeight conv_columns(const ConvWeight& from, std::int64_t begin, std::int64_t end) {
  const auto columns = [&]<typename T>(const Tensor& tensor, T) {
    if (tensor.empty()) return Tensor();
    const int rank = tensor.shape().rank();
    const std::int64_t rows = rank == 2 ? tensor.shape()[0] : 1, cols = end - begin;
    Tensor result(tensor.dtype(), rank == 2 ? Shape{rows, cols} : Shape{cols});
    for (std::int64_t r = 0; r < rows; ++r) {
      std::copy_n(tensor.as<T>().data() + r * from.channels() + begin, cols,
                  result.mutable_as<T>().data() + r * cols);
    }
    return result;
  };
  const bool int8 = from.data.dtype() == DType::i8;
  return {int8 ? columns(from.data, std::int8_t{}) : columns(from.data, float{}),
          columns(from.scale, float{}), columns(from.bias, float{})};
}

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
StateScales load_state_scales(const Site& site, const std::string& name, std::int64_t heads) {
  const std::int64_t P = site.channels / heads, N = site.scale.shape()[1];
  StateScales result;
  std::map<std::vector<std::int32_t>, std::int32_t> tables;  // of groups, one for each column
  for (std::int64_t h = 0; h < heads; ++h) {
    std::vector<std::int32_t> columns;
    for (const std::int32_t group : site.group.as<std::int32_t>().subspan(
             static_cast<std::size_t>(h * P), static_cast<std::size_t>(P))) {
      const auto column = std::find(columns.begin(), columns.end(), group);
      result.slot.push_back(static_cast<std::int8_t>(column - columns.begin()));
      if (column == columns.end()) columns.push_back(group);
      check(std::ssize(columns) <= kSsdClusters, ErrorCode::unsupported,
            "{}_group: the channels of head {} are in more than {} groups", name, h, kSsdClusters);
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

/// An orthogonal R leaves C S as it is: (C R)(R^T S), and R^T S is what B R makes. Static scales
/// were measured on the state that is not rotated.
void check_rotated_state(const std::map<std::string, ActivationNumerics>& numerics) {
  const auto of = [&](const char* role) {
    const auto found = numerics.find(role);
    return found == numerics.end() ? ActivationNumerics{} : found->second;
  };
  const std::int64_t block = of("B").hadamard_block;
  check(block == of("C").hadamard_block, ErrorCode::unsupported,
        "B and C must be rotated alike, config.json has blocks of {} and {}", block,
        of("C").hadamard_block);
  const ActivationNumerics state = of("ssm_state");
  check(block == 0 || !state.quantized || state.args.is_float || state.args.dynamic,
        ErrorCode::unsupported,
        "an int8 state with static scales cannot be rotated, and config.json rotates B and C");
}

Layer Mamba2::load_layer(Context& ctx, const TensorSource& tensors, int i,
                         StateLayout& state) const {
  Layer l;
  const auto site = [&](std::string_view role) {
    return load_site(tensors, layout_, role, i, numerics_);
  };
  const auto param_site = [&](std::string_view role) -> const ParamSite& {
    return find_site(layout_.params, role, i);
  };
  const auto param = [&](std::string_view role) { return load_param(tensors, param_site(role)); };
  const auto weight = [&](std::string_view role, const Site& input) {
    const LinearSite& described = find_site(layout_.linears, role, i);
    Weight result = load_weight(ctx, tensors, described, true);
    check_input(result, described, input);
    return result;
  };
  l.in_proj_input = site("in_proj.input");
  l.z = site("z");
  l.dt = site("dt");
  l.ssm_state = site("ssm_state");
  l.out_proj_input = site("out_proj.input");
  const auto conv = [&](bool keep_int8) {
    return load_conv(tensors, param_site("conv1d.weight"),
                     c_.conv_bias ? &param_site("conv1d.bias") : nullptr, keep_int8);
  };
  std::int64_t begin = 0;
  for (std::size_t k = 0; k < 3; ++k) {
    const char* name = std::array{"x", "B", "C"}[k];
    Conv& part = l.xBC[k];
    part.input = site(std::string("conv1d.") + name);
    part.output = site(name);
    const bool int8 = part.input.has_one_scale();
    part.weight = conv_columns(conv(int8), begin, begin + part.input.channels);
    begin += part.input.channels;
    part.buffer = state.add(std::string("conv_state_") + name, i, int8 ? DType::i8 : DType::f32,
                            {c_.d_conv - 1, part.input.channels});
  }
  const bool half_state = l.ssm_state.numerics.quantized && l.ssm_state.numerics.args.is_float;
  const DType ssm_dtype = l.ssm_state.is_int8() ? DType::i8 : half_state ? DType::f16 : DType::f32;
  // Of a dynamic int8 state every token reads all, with half a chunk of what is recent, and adds to
  // the latter; the last of a chunk reads and writes all.
  constexpr double kEnds = 1.0 / kSsdChunk;
  const bool by_row = l.ssm_state.is_int8() && l.ssm_state.numerics.args.dynamic;
  const double passes = by_row ? 1 + 2 * kEnds : 2, recent_passes = 0.5 + 3 * kEnds;
  l.ssm_buffer =
      state.add("ssm_state", i, ssm_dtype, {c_.heads, c_.d_state, c_.head_dim()}, passes);
  if (ssm_dtype == DType::f32) state.chunk = kSsdChunk;
  if (by_row) {
    const auto add = [&](const char* name, const Shape& shape, double times) {
      return state.add(name, i, DType::f32, shape, times);
    };
    l.row_scale_buffer = add("ssm_state_scale", {c_.heads, c_.head_dim()}, passes);
    l.recent_dx_buffer =
        add("ssm_recent_dx", {c_.heads, kSsdChunk - 1, c_.head_dim()}, recent_passes);
    l.recent_B_buffer = add("ssm_recent_B", {c_.groups, c_.d_state, kSsdChunk}, recent_passes);
    l.recent_decay_buffer = add("ssm_recent_decay", {c_.heads, kSsdChunk}, 2);
  }
  if (!l.ssm_state.group.empty()) {
    const ActivationSite& described = find_site(layout_.activations, "ssm_state", i);
    l.state_scales = load_state_scales(l.ssm_state, described.name, c_.heads);
  }

  l.in_proj_scale =
      joint_scale(std::array{&l.z, &l.xBC[0].input, &l.xBC[1].input, &l.xBC[2].input, &l.dt});
  l.norm = {param("norm"), c_.norm_eps};
  l.in_proj = weight("in_proj", l.in_proj_input);
  l.dt_bias = param("dt_bias");
  l.a2 = make_a2(param("A_log"));
  l.D = per_channel(param("D"), c_.d_inner);
  l.gated_norm = {param("gated_norm"), c_.norm_eps};
  l.out_proj = weight("out_proj", l.out_proj_input);
  return l;
}

std::size_t read_bytes(const Layer& l) noexcept {
  std::size_t bytes = read_bytes(l.in_proj) + read_bytes(l.out_proj);
  for (const Conv& conv : l.xBC) {
    for (const Tensor* tensor : {&conv.weight.data, &conv.weight.scale, &conv.weight.bias}) {
      if (!tensor->empty()) bytes += tensor->bytes();
    }
  }
  for (const Tensor* tensor : {&l.norm.weight, &l.dt_bias, &l.a2, &l.D, &l.gated_norm.weight}) {
    bytes += tensor->bytes();
  }
  return bytes;
}

Mamba2::Mamba2(Context& ctx, const Json& config, const TensorSource& tensors) {
  layout_ = describe_mamba2(config, tensors);
  c_ = read_mamba2_config(config, tensors);
  numerics_ = parse_numerics(config, layout_);
  check_rotated_state(numerics_);
  check_finite(ctx, tensors);
  auto state = std::make_shared<StateLayout>();
  state->fingerprint = model_fingerprint(config, info(), tensors);
  ends_ = load_ends(ctx, tensors, layout_, numerics_, c_.norm_eps);
  weight_bytes_ = read_bytes(ends_);
  for (int i = 0; i < c_.layers; ++i) {
    layers_.push_back(load_layer(ctx, tensors, i, *state));
    weight_bytes_ += read_bytes(layers_.back());
  }
  state_layout_ = std::move(state);
}

}  // namespace

std::unique_ptr<Model> load_mamba2(Context& ctx, const Json& config, const TensorSource& tensors) {
  return std::make_unique<Mamba2>(ctx, config, tensors);
}

}  // namespace krait
