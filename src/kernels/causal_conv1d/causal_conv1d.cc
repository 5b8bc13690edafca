#include "kernels/causal_conv1d/causal_conv1d.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "kernels/causal_conv1d/causal_conv1d_kernels.h"
#include "kernels/quantize/quantize.h"

namespace krait {
namespace {

constexpr std::int64_t kMaxTaps = 16;
// Channels per block: the taps of the inputs, the weights and the result of a block stay in L1.
constexpr std::int64_t kBlock = 512;
constexpr std::int64_t kElementsPerTask = 8192;

bool has_static_tensor_scale(const Activation& x) {
  return x.dtype == DType::i8 && x.strategy == Strategy::tensor && !x.dynamic;
}

/// Input of token t, t < 0 for those that the state keeps; T is float or int8.
template <typename T>
struct Inputs {
  const T* x;
  std::int64_t stride;
  const T* state;
  std::int64_t channels, kept;

  const T* row(std::int64_t t) const {
    return t < 0 ? state + (kept + t) * channels : x + t * stride;
  }
};

/// The last K-1 inputs after `tokens` more. Row j becomes what is row j + tokens of state and x
/// together, which is never a state row that was overwritten before.
template <typename T>
void advance(T* state, const Inputs<T>& inputs, std::int64_t tokens) {
  const std::size_t bytes = static_cast<std::size_t>(inputs.channels) * sizeof(T);
  for (std::int64_t j = 0; j < inputs.kept; ++j) {
    std::memmove(state + j * inputs.channels, inputs.row(j + tokens - inputs.kept), bytes);
  }
}

struct Job {
  const ConvWeight& weight;
  const void* data;      ///< [K, C], of the same type as the inputs
  const float* x_scale;  ///< of int8 inputs
  const Activation& u;
  bool rows_in_scratch;  ///< u's scale needs whole rows or more: results go to `scratch` first
  float* scratch;        ///< [T, C], else [threads, kBlock]
};

/// Channels [c, c + n), n <= kBlock, of token t.
template <typename T>
void convolve(Context& ctx, const Job& job, const Inputs<T>& inputs, std::int64_t t, std::int64_t c,
              std::int64_t n, int thread) {
  const std::int64_t taps = inputs.kept + 1;
  const void* rows[kMaxTaps];
  for (std::int64_t k = 0; k < taps; ++k) rows[k] = inputs.row(t - inputs.kept + k) + c;
  const ConvTaps conv{
      .x = rows,
      .w = static_cast<const T*>(job.data) + c,
      .stride = inputs.channels,
      .taps = taps,
      .bias = job.weight.bias.empty() ? nullptr : job.weight.bias.as<float>().data() + c};
  Activation target = job.u.columns(c, c + n);
  float* out = job.scratch + thread * kBlock;
  if (job.rows_in_scratch) out = job.scratch + t * inputs.channels + c;
  if (job.u.dtype == DType::f32) out = target.f32(t);
  if constexpr (sizeof(T) == 1) {
    ctx.kernels.causal_conv1d->conv_i8(conv, job.weight.scale.template as<float>().data() + c,
                                       *job.x_scale, out, n);
  } else {
    ctx.kernels.causal_conv1d->conv_f32(conv, out, n);
  }
  if (!job.rows_in_scratch) store_row(*ctx.kernels.quantize, out, target, t);
}

template <typename T>
void run(Context& ctx, Job job, const Inputs<T>& inputs, T* state) {
  const std::int64_t tokens = job.u.rows, channels = inputs.channels;
  const Arena::Scope scope(ctx.arena);
  job.scratch = ctx.arena.take<float>(job.rows_in_scratch ? tokens * channels
                                                          : ctx.threads.threads() * kBlock);
  // Tasks are 64-channel columns where there are few tokens and runs of tokens otherwise.
  const auto columns = [&](std::int64_t first, std::int64_t last, std::int64_t c0, std::int64_t c1,
                           int thread) {
    for (std::int64_t c = c0; c < c1; c += kBlock) {
      for (std::int64_t t = first; t < last; ++t) {
        convolve(ctx, job, inputs, t, c, std::min(kBlock, c1 - c), thread);
      }
    }
  };
  if (tokens < 4 * ctx.threads.threads()) {
    const std::int64_t grain =
        (kElementsPerTask / std::max<std::int64_t>(tokens, 1) + 63) / 64 * 64;
    ctx.threads.parallel_for(channels, grain, [&](std::int64_t c0, std::int64_t c1, int thread) {
      columns(0, tokens, c0, c1, thread);
    });
  } else {
    const std::int64_t grain = std::max<std::int64_t>(1, kElementsPerTask / channels);
    ctx.threads.parallel_for(tokens, grain, [&](std::int64_t t0, std::int64_t t1, int thread) {
      columns(t0, t1, 0, channels, thread);
    });
  }
  if (job.rows_in_scratch) quantize(ctx, f32_activation(job.scratch, tokens, channels), job.u);
  advance(state, inputs, tokens);
}

/// int8 weights as s q in f32, for inputs that are not int8 with one static scale.
const float* widened_weight(Context& ctx, const ConvWeight& weight) {
  if (weight.data.dtype() == DType::f32) return weight.data.as<float>().data();
  const std::int64_t channels = weight.channels();
  float* wide = ctx.arena.take<float>(weight.kernel() * channels);
  for (std::int64_t k = 0; k < weight.kernel(); ++k) {
    ctx.kernels.quantize->dequantize_channels(weight.data.as<std::int8_t>().data() + k * channels,
                                              weight.scale.as<float>().data(), wide + k * channels,
                                              channels);
  }
  return wide;
}

}  // namespace

void causal_conv1d(Context& ctx, const ConvWeight& weight, const Activation& x, void* conv_state,
                   const Activation& u) {
  const std::int64_t channels = weight.channels(), kept = weight.kernel() - 1;
  assert(x.cols == channels && u.cols == channels && x.rows == u.rows);
  assert(kept >= 0 && kept < kMaxTaps);
  assert(weight.data.dtype() == DType::f32 || weight.data.dtype() == DType::i8);
  const Arena::Scope scope(ctx.arena);
  Job job{.weight = weight,
          .data = weight.data.view().data,
          .x_scale = x.scale,
          .u = u,
          .rows_in_scratch = u.dtype == DType::i8 && u.dynamic,
          .scratch = nullptr};
  if (has_static_tensor_scale(x) && weight.data.dtype() == DType::i8) {
    auto* state = static_cast<std::int8_t*>(conv_state);
    run<std::int8_t>(ctx, job, {x.i8(), x.stride, state, channels, kept}, state);
    return;
  }
  job.data = widened_weight(ctx, weight);
  Activation wide = x;
  if (x.dtype == DType::i8) {
    wide = f32_activation(ctx.arena.take<float>(x.rows * channels), x.rows, channels);
    dequantize(ctx, x, wide);
  }
  if (!has_static_tensor_scale(x)) {
    auto* state = static_cast<float*>(conv_state);
    run<float>(ctx, job, {wide.f32(), wide.stride, state, channels, kept}, state);
    return;
  }
  auto* state = static_cast<std::int8_t*>(conv_state);
  float* wide_state = ctx.arena.take<float>(kept * channels);
  ctx.kernels.quantize->dequantize(state, x.scale[0], wide_state, kept * channels);
  run<float>(ctx, job, {wide.f32(), wide.stride, wide_state, channels, kept}, wide_state);
  advance<std::int8_t>(state, {x.i8(), x.stride, state, channels, kept}, x.rows);
}

}  // namespace krait
