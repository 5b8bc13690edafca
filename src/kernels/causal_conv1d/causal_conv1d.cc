#include "kernels/causal_conv1d/causal_conv1d.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <vector>

#include "kernels/causal_conv1d/causal_conv1d_kernels.h"
#include "kernels/cpu_operations.h"
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

/// Input of row t of a sequence, t < 0 for those that the state keeps; T is float or int8.
template <typename T>
struct Inputs {
  const T* x;
  std::int64_t stride;
  T* state;
  std::int64_t channels, kept;

  const T* row(std::int64_t t) const {
    return t < 0 ? state + (kept + t) * channels : x + t * stride;
  }
};

/// The last K-1 inputs after `tokens` more. Row j becomes what is row j + tokens of state and x
/// together, which is never a state row that was overwritten before.
template <typename T>
void advance(const Inputs<T>& inputs, std::int64_t tokens) {
  const std::size_t bytes = static_cast<std::size_t>(inputs.channels) * sizeof(T);
  for (std::int64_t j = 0; j < inputs.kept; ++j) {
    std::memmove(inputs.state + j * inputs.channels, inputs.row(j + tokens - inputs.kept), bytes);
  }
}

using Sequences = std::span<const SequenceRun<void*>>;

struct Job {
  const ConvWeight& weight;
  const void* data;      ///< [K, C], of the same type as the inputs
  const float* x_scale;  ///< of int8 inputs
  const Activation& u;
  float* whole;    ///< u's scale needs whole rows or more: results go there first, [T, C]
  float* scratch;  ///< [threads, kBlock]
};

/// Channels [c, c + n), n <= kBlock, of row t of a sequence, which is row `row` of the batch.
template <typename T>
void convolve(Context& ctx, const Job& job, const Inputs<T>& inputs, std::int64_t t,
              std::int64_t row, std::int64_t c, std::int64_t n, int thread) {
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
  if (job.whole) out = job.whole + row * inputs.channels + c;
  if (job.u.dtype == DType::f32) out = target.f32(row);
  if constexpr (sizeof(T) == 1) {
    ctx.kernels.causal_conv1d->conv_i8(conv, job.weight.scale.template as<float>().data() + c,
                                       *job.x_scale, out, n);
  } else {
    ctx.kernels.causal_conv1d->conv_f32(conv, out, n);
  }
  if (!job.whole) store_row(*ctx.kernels.quantize, out, target, row);
}

/// `states`: of each sequence, in the type of the inputs.
template <typename T>
void run(Context& ctx, const Job& job, const T* x, std::int64_t stride, Sequences sequences,
         std::span<T* const> states) {
  const std::int64_t channels = job.weight.channels(), kept = job.weight.kernel() - 1;
  std::vector<Inputs<T>> inputs;
  std::int64_t tokens = 0;
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    const SequenceRows& rows = sequences[i].rows;
    inputs.push_back({x + rows.begin * stride, stride, states[i], channels, kept});
    tokens += rows.tokens();
  }
  if (tokens == 0) return;
  const auto rows_of = [&](std::size_t i, std::int64_t first, std::int64_t last, std::int64_t c0,
                           std::int64_t c1, int thread) {
    for (std::int64_t c = c0; c < c1; c += kBlock) {
      for (std::int64_t t = first; t < last; ++t) {
        convolve(ctx, job, inputs[i], t, sequences[i].rows.begin + t, c, std::min(kBlock, c1 - c),
                 thread);
      }
    }
  };
  // Tasks are columns of all sequences where there are few tokens, and runs of tokens otherwise.
  if (tokens < 4 * ctx.threads.threads()) {
    const std::int64_t grain = (kElementsPerTask / tokens + 63) / 64 * 64;
    ctx.threads.parallel_for(channels, grain, [&](std::int64_t c0, std::int64_t c1, int thread) {
      for (std::size_t i = 0; i < inputs.size(); ++i) {
        rows_of(i, 0, sequences[i].rows.tokens(), c0, c1, thread);
      }
    });
  } else {
    std::vector<std::int64_t> ends;  // of the sequences, counted in tokens
    std::int64_t end = 0;
    for (const auto& sequence : sequences) ends.push_back(end += sequence.rows.tokens());
    const std::int64_t grain = std::max<std::int64_t>(1, kElementsPerTask / channels);
    ctx.threads.parallel_for(tokens, grain, [&](std::int64_t t0, std::int64_t t1, int thread) {
      auto i =
          static_cast<std::size_t>(std::upper_bound(ends.begin(), ends.end(), t0) - ends.begin());
      for (std::int64_t t = t0; t < t1; ++i) {
        const std::int64_t last = std::min(t1, ends[i]),
                           first = ends[i] - sequences[i].rows.tokens();
        rows_of(i, t - first, last - first, 0, channels, thread);
        t = last;
      }
    });
  }
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    advance(inputs[i], sequences[i].rows.tokens());
  }
}

/// States as they lie in memory.
template <typename T>
std::vector<T*> states_of(Sequences sequences) {
  std::vector<T*> states;
  for (const auto& sequence : sequences) states.push_back(static_cast<T*>(sequence.state));
  return states;
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

void cpu::causal_conv1d(Context& ctx, const ConvWeight& weight, const Activation& x, Sequences sequences,
                   const Activation& u) {
  const std::int64_t channels = weight.channels(), kept = weight.kernel() - 1;
  assert(x.cols == channels && u.cols == channels && x.rows == u.rows);
  assert(kept >= 0 && kept < kMaxTaps);
  assert(weight.data.dtype() == DType::f32 || weight.data.dtype() == DType::i8);
  const Arena::Scope scope(ctx.arena);
  const bool keeps_i8 = has_static_tensor_scale(x);
  const bool multiplies_i8 = keeps_i8 && weight.data.dtype() == DType::i8;
  const bool rows_first = u.dtype == DType::i8 && u.dynamic;
  const Job job{.weight = weight,
                .data = multiplies_i8 ? weight.data.view().data : widened_weight(ctx, weight),
                .x_scale = x.scale,
                .u = u,
                .whole = rows_first ? ctx.arena.take<float>(x.rows * channels) : nullptr,
                .scratch = ctx.arena.take<float>(ctx.threads.threads() * kBlock)};
  Activation wide = x;
  if (x.dtype == DType::i8 && !multiplies_i8) {
    wide = f32_activation(ctx.arena.take<float>(x.rows * channels), x.rows, channels);
    cpu::dequantize(ctx, x, wide);
  }
  const auto run_part = [&](Sequences part) {
    if (multiplies_i8)
      return run<std::int8_t>(ctx, job, x.i8(), x.stride, part, states_of<std::int8_t>(part));
    if (!keeps_i8)
      return run<float>(ctx, job, wide.f32(), wide.stride, part, states_of<float>(part));
    const Arena::Scope own(ctx.arena);
    std::vector<float*> states;
    for (const auto& sequence : part) {
      states.push_back(ctx.arena.take<float>(kept * channels));
      ctx.kernels.quantize->dequantize(static_cast<std::int8_t*>(sequence.state), x.scale[0],
                                       states.back(), kept * channels);
    }
    run<float>(ctx, job, wide.f32(), wide.stride, part, states);
    for (const auto& [rows, state] : part) {
      advance<std::int8_t>(
          {x.i8(rows.begin), x.stride, static_cast<std::int8_t*>(state), channels, kept},
          rows.tokens());
    }
  };
  const std::size_t bytes =
      static_cast<std::size_t>(kept * channels) * (keeps_i8 ? 1 : sizeof(float));
  run_with_history(sequences, run_part, [&](void* state, std::int64_t offset) {
    std::memcpy(static_cast<char*>(state) + offset, state, bytes);
  });
  if (rows_first) cpu::quantize(ctx, f32_activation(job.whole, x.rows, channels), u);
}

}  // namespace krait
